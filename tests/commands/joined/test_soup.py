"""search.soup on small trained models: what the soup is, when it is written, what is refused."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import create_trial
from safetensors.torch import load_file, save_file

import search.soup
from maskcls.config import TrainConfig, change, load_config
from maskcls.data.dataset import Table, load_dataset
from maskcls.evaluate import main as evaluate
from maskcls.model.classifier import build_model
from maskcls.run.record import sha256
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from maskcls.train import main as train
from maskcls.training.run_folder import train_into
from search.answer.candidates import Candidate
from search.answer.soups import Soup, best_soup, find_ingredients
from search.database.connect import create_study, default_url, load_study, open_storage
from search.study.record import KEY
from search.study.space import distributions
from tests.helpers.predictions import store, wrong
from tests.helpers.search import TOY_STUDY, complain
from tests.helpers.training import CPU, TINY, run
from tests.maskcls.model.test_composite import _stored

STARTED = {"source": "pretrained", "efficientnet_b3": "a", "resnet18": "a"}
PRETRAINED = {"source": "folder", "test_efficientnet": "0123456789ab"}


@pytest.fixture(scope="module")
def runs(
    synthetic_table: Table, synthetic_folder: Path, synthetic_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A study of three trials that were fine-tuned from one file, and a fourth of another photo size."""
    folder = tmp_path_factory.mktemp("soup") / "runs"
    folder.mkdir()
    torch.manual_seed(0)
    weight_file = folder.parent / "test_efficientnet.safetensors"
    save_file(build_model(TINY, MASK_TASK.space, None).weights().state_dict(), weight_file)
    stored = replace(_stored(TINY, synthetic_table), weights=PRETRAINED, data=str(synthetic_folder))
    study = create_study(open_storage(default_url(folder), create=True), "tuned", {KEY: stored.to_json()})
    configs = [change(TINY, epochs=3, seed=seed, lr=lr) for seed, lr in enumerate((1e-2, 1e-2, 3e-4))]
    for number, config in enumerate([*configs, change(TINY, image_size=48, seed=4)]):
        data = load_dataset(synthetic_table, config, synthetic_cache)
        home, origin = folder / "tuned" / f"trial-{number:04d}", {"split": synthetic_table.hash}
        _, result = train_into(home, config, data, lambda *_: True, origin=origin, device=CPU, weight_file=weight_file)
        params = {"drop_rate": 0.0, "lr": 1e-2}
        value = result.best.scores.macro_f1
        study.add_trial(create_trial(value=value, params=params, distributions=distributions(TOY_STUDY.space)))
    return folder


@pytest.fixture(scope="module")
def two(runs: Path) -> Path:
    """The same with a second study, whose only trial has the weights of trial 2 of the first, a little moved."""
    storage = open_storage(default_url(runs), create=False)
    tuned = load_study(storage, "tuned")
    study = create_study(storage, "more", {KEY: {**tuned.user_attrs[KEY], "question": "Another?"}})
    home = runs / "more" / "trial-0000"
    shutil.copytree(runs / "tuned" / "trial-0002", home)
    weights = load_file(home / "best.safetensors")
    save_file({name: 1.01 * each if each.is_floating_point() else each for name, each in weights.items()}, home / "a")
    (home / "a").rename(home / "best.safetensors")
    study.add_trial(tuned.trials[2])
    return runs


def soup(runs: Path, out: Path, *words: str) -> int:
    return run(search.soup.main, "--study", "tuned", "-o", out, "--runs", runs, "--device", "cpu", *words)


def test_the_soup_is_a_model_with_the_mean_weights_and_fresh_statistics(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "soup"
    assert soup(runs, out, "--force") == 0
    printed = capsys.readouterr().out
    config, origin = load_config(out / "config.toml")
    facts = origin["soup"]
    assert len(facts["trials"]) > 1
    assert 3 not in facts["trials"]  # it is of another size
    states = [load_file(runs / "tuned" / f"trial-{number:04d}" / "best.safetensors") for number in facts["trials"]]
    mixed = load_file(out / "best.safetensors")
    for name, tensor in mixed.items():
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        is_statistic = "running" in name or "num_batches" in name
        assert is_statistic or torch.allclose(tensor.double(), mean, atol=1e-6), name
        assert "running_var" not in name or not torch.allclose(tensor.double(), mean), name
    assert f"{facts['value']:.4f} (95 % interval" in printed
    assert f"single    trial {facts['single']['trial']} of tuned" in printed
    assert config.image_size == (32, 32)
    command = ["--model", out, "--data", load_config(out / "config.toml")[1]["data"], "-o", tmp_path / "scored"]
    assert run(evaluate, *command, "--runs", runs, "--device", "cpu") == 0
    told = capsys.readouterr().out
    assert "scoring the held-out people" in told
    stored, found = Predictions.load(out / "valid.npz"), Predictions.load(tmp_path / "scored" / "predictions.npz")
    assert np.array_equal(stored.path_N, found.path_N)
    assert found.log_prob_NK == pytest.approx(stored.log_prob_NK, abs=1e-5)
    assert soup(runs, out, "--force") == 0  # again, over its own


def test_trials_of_two_studies_make_a_soup(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "soup"
    assert soup(two, out, "--study", "more", "--study", "more", "--force") == 0
    printed = capsys.readouterr().out
    assert "Soups of 4 trials of test_efficientnet" in printed
    (everything,) = [line for line in printed.splitlines() if line.count("trial ") == 4]
    assert {"trial 2 of tuned", "trial 0 of more"} <= {part.strip(" :") for part in _parts(everything)}
    _, origin = load_config(out / "config.toml")
    assert not {"study", "study_id"} & origin.keys()
    members = [(member["study"], member["trial"]) for member in origin["soup"]["members"]]
    assert len(set(members)) == len(members) > 1
    files = [two / study / f"trial-{trial:04d}" / "best.safetensors" for study, trial in members]
    states = [load_file(file) for file in files]
    for name, tensor in load_file(out / "best.safetensors").items():
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        assert "running" in name or "num_batches" in name or torch.allclose(tensor.double(), mean, atol=1e-6), name


def _parts(line: str) -> list[str]:
    return line.removeprefix("  soup of ").partition(":")[0].split(", ")


def test_the_trials_of_a_copied_study_join_once(two: Path) -> None:
    storage = open_storage(default_url(two), create=False)
    tuned, copied = (
        load_study(storage, "tuned"),
        create_study(storage, "copied", load_study(storage, "tuned").user_attrs),
    )
    shutil.copytree(two / "tuned", two / "copied")
    for number, trial in enumerate(tuned.trials[:3]):
        trial.user_attrs["weights_digest"] = sha256(two / "copied" / f"trial-{number:04d}" / "best.safetensors")
        copied.add_trial(trial)
    again = create_study(storage, "copied-again", copied.user_attrs)
    shutil.copytree(two / "tuned", two / "copied-again")
    again.add_trials(copied.trials)
    ingredients, trained = find_ingredients([copied, again], two)
    assert [model.study for model in ingredients] == ["copied"] * 3
    assert len(trained) == 3


def test_a_soup_that_does_not_help_is_not_written(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert soup(runs, tmp_path / "soup") == 0
    printed = capsys.readouterr().out
    assert "once corrected: not distinguishable" in printed or "the soup is worse" in printed
    assert "Nothing is written: the soup is not better than the best single model beyond noise." in printed
    assert not (tmp_path / "soup").exists()


def test_greedy_takes_each_that_does_not_lower_the_score(runs: Path) -> None:
    """With a cook whose soups have known scores: the better of greedy and uniform is the best."""
    study = load_study(open_storage(default_url(runs), create=False), "tuned")
    ingredients, trained = find_ingredients([study], runs)
    assert [model.trial.number for model in ingredients] != [3]
    label_N = ingredients[0].predictions.label_N
    start = ingredients[0].score("all")
    right_of = {(0, 1): start + 0.2, (0, 1, 2): start + 0.1, (0, 2): start - 0.1, (1, 2): start - 0.1}
    made: list[tuple[int, ...]] = []

    def cook(models: Sequence[Candidate]) -> Soup:
        places = tuple(ingredients.index(model) for model in models)
        made.append(places)
        share = right_of[places]
        said_N = np.where(np.random.default_rng(0).random(len(label_N)) < share, label_N, (label_N + 1) % 18)
        log_prob_NK = np.log(np.eye(18, dtype=np.float32)[said_N] + 0.01)
        return Soup(tuple(models), {}, replace(ingredients[0].predictions, log_prob_NK=log_prob_NK))

    found = best_soup(ingredients, trained, cook, lambda text: None)
    assert made[:2] == [(0, 1), (0, 1, 2)]
    assert len(made) == len(set(made)) == found.made  # the others, once each, for other orders
    assert found.best.candidates == 2
    assert found.redrawn == 500
    assert found.best.selected.corrected < found.best.selected.raw
    assert [ingredients.index(model) for model in found.soup.ingredients] == [0, 1]
    made.clear()
    right_of |= {(0, 1): start - 0.2, (0, 2): start - 0.3, (0, 1, 2): start + 0.3}
    found = best_soup(ingredients, trained, cook, lambda text: None)
    assert made[:3] == [(0, 1), (0, 2), (0, 1, 2)]  # greedy takes none; the uniform soup is tried all the same
    assert len(found.soup.ingredients) == 3


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runs: Path, study: str, *words: str
) -> str:
    command = ("--study", study, "--runs", str(runs), "--device", "cpu", *words)
    return complain(monkeypatch, capsys, search.soup.main, *command)


def test_what_makes_no_soup_is_one_line(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trained: Path
) -> None:
    out = ("-o", str(tmp_path / "soup"))
    store(runs, "scratched", "all", [wrong("all", 0.5, 0), wrong("all", 0.5, 1)])
    store(runs, "lonely", "all", [wrong("all", 0.5, 0)], weights=PRETRAINED)
    assert "No study named 'tunes' is stored. Nearest: tuned" in refused(monkeypatch, capsys, runs, "tunes", *out)
    assert "was trained from scratch, and the mean" in refused(monkeypatch, capsys, runs, "scratched", *out)
    assert "A soup needs two complete trials with weights" in refused(monkeypatch, capsys, runs, "lonely", *out)
    told = refused(monkeypatch, capsys, runs, "tuned", *out, "--data", "synthetic")
    assert "The photos in synthetic are not those of study 'tuned'" in told
    assert "holds another model" in refused(monkeypatch, capsys, runs, "tuned", "-o", str(trained))
    (runs / "tuned" / "study.json").write_text("{}")
    told = refused(monkeypatch, capsys, runs, "tuned", "-o", str(runs / "tuned" / "soup"))
    (runs / "tuned" / "study.json").unlink()
    assert "lies in a study's folder" in told
    assert not (tmp_path / "soup").exists()


@pytest.mark.parametrize(
    ("task", "config", "more", "words"),
    [
        ("all", "image_size = 48", {}, ": image_size is 224 x 224 and 48 x 48. Leave out --study theirs, or join"),
        ("all", "crop = 0.5", {}, "cannot be averaged: crop is 1.0 x 1.0 and 0.5 x 0.5."),
        ("all", 'fit = "pad"', {}, "of ours and trial 0 of theirs cannot be averaged: fit is squash and pad."),
        ("all", "bit_depth = 12", {}, "bit_depth is 0 and 12"),
        ("all", 'heads = "three_heads"', {}, "heads is joint and three_heads"),
        ("all", 'backbone = "resnet18"', {}, "backbone is efficientnet_b3 and resnet18"),
        ("all", "", {"weights": {**STARTED, "efficientnet_b3": "b"}}, "pretrained weights is a and b"),
        ("all", "", {"weights": {"source": "scratch"}}, "Study 'theirs' was trained from scratch"),
        ("all", "", {"split": "4567"}, "Models are compared on the same people, but study 'ours' has split"),
        ("all", "", {"photos": slice(413)}, "Models are compared on the same photos"),
        ("gender", "", {}, "Studies 'ours' and 'theirs' predict different classes"),
    ],
)
def test_models_that_have_no_mean_are_refused(
    tmp_path: Path, task: str, config: str, more: dict[str, Any], words: str
) -> None:
    store(tmp_path, "ours", "all", [wrong("all", 0.1, 0), wrong("all", 0.1, 1)], weights=STARTED)
    store(tmp_path, "theirs", task, [wrong(task, 0.6, 0)], **{"weights": STARTED, **more})
    with (tmp_path / "theirs" / "trial-0000" / "config.toml").open("a") as file:
        file.write(f"{config}\n")
    storage = open_storage(default_url(tmp_path), create=False)
    with pytest.raises(UserError, match=re.escape(words)):
        find_ingredients([load_study(storage, name) for name in ("ours", "theirs")], tmp_path)


def test_of_two_studies_those_with_a_setting_in_common_are_ingredients(tmp_path: Path) -> None:
    store(tmp_path, "ours", "all", [wrong("all", share, 0) for share in (0.1, 0.2, 0.3)], weights=STARTED)
    store(tmp_path, "theirs", "all", [wrong("all", 0.6, 0)], weights=STARTED)
    for folder in (tmp_path / "ours" / "trial-0001", tmp_path / "theirs" / "trial-0000"):
        (folder / "config.toml").write_text("image_size = 48\n")
    storage = open_storage(default_url(tmp_path), create=False)
    ingredients, trained = find_ingredients([load_study(storage, name) for name in ("ours", "theirs")], tmp_path)
    assert [model.name for model in ingredients] == ["trial 1 of ours", "trial 0 of theirs"]
    assert len(trained) == 4


def test_a_training_does_not_continue_a_soup(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], synthetic_folder: Path
) -> None:
    assert soup(runs, tmp_path / "soup", "--force") == 0
    command = ("--data", synthetic_folder, "-o", tmp_path / "soup", "--runs", runs, "--weights", "scratch")
    assert run(train, "--config", tmp_path / "soup" / "config.toml", *command) == 2
    assert "holds a model that search.soup made" in capsys.readouterr().err


def test_ingredients_have_one_architecture(runs: Path) -> None:
    study = load_study(open_storage(default_url(runs), create=False), "tuned")
    ingredients, all_trained = find_ingredients([study], runs)
    assert {model.trial.number for model in ingredients} == {0, 1, 2}
    assert [model.trial.value for model in ingredients] == sorted((m.trial.value for m in ingredients), reverse=True)
    assert len(all_trained) == 4
    config: TrainConfig = load_config(ingredients[0].folder / "config.toml")[0]
    assert config.image_size == (32, 32)
