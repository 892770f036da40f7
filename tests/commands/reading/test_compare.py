"""search.compare: two trained models on the same people, their difference with its interval, and what cannot be."""

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from sklearn.metrics import f1_score

from maskcls.config import save_config
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from search.compare import main as compare
from search.database.connect import create_study, default_url, open_storage
from search.storage.retention import trial_folder
from search.study.attributes import STUDY_ID
from search.study.record import KEY
from tests.helpers.report import Played, add, make_study, play_rounds
from tests.helpers.search import complain
from tests.helpers.training import TINY, run


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    return make_study(tmp_path_factory.mktemp("compare"), synthetic_folder)


def stored(played: Played, number: int) -> Predictions:
    return Predictions.load(trial_folder(played.runs / "toy", number) / "valid.npz")


def shown(capsys: pytest.CaptureFixture[str], played: Played, *words: object) -> str:
    assert run(compare, *words, "--runs", played.runs) == 0
    return capsys.readouterr().out


def test_scores_and_difference_are_those_of_the_stored_predictions(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, played, "toy:1", "toy:8")
    f1 = []
    for letter, number in (("A", 1), ("B", 8)):
        found = stored(played, number)
        f1.append(f1_score(found.label_N, found.log_prob_NK.argmax(1), labels=range(18), average="macro"))
        assert f"{letter}  macro F1 {f1[-1]:.4f} (95 % interval" in text
    assert f"A - B  {f1[0] - f1[1]:+.3f} (95 % interval +" in text
    assert "A is better than B. This is about these two trained models, judged by the same 24 people." in text
    assert "would be found four times in five" in text


def test_order_turns_the_sign(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    forth, back = (
        re.findall(r"A - B  ([+-][.\d]+) \(95 % interval ([+-][.\d]+) to ([+-][.\d]+)\)", shown(capsys, played, *pair))[
            0
        ]
        for pair in (("toy:1", "toy:8"), ("toy:8", "toy:1"))
    )
    assert [float(number) for number in forth] == [-float(back[index]) for index in (0, 2, 1)]


NOTHING = "It says nothing about the recipes: other seeds may turn it round."


def test_two_models_say_nothing_about_their_recipes(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    for pair in (("toy:1", "toy:0"), ("toy:1", "toy:8")):
        assert NOTHING in shown(capsys, played, *pair)
    assert "Both are runs of one recipe" in shown(capsys, played, "toy:1", "toy:9")


def test_two_models_of_a_round_are_told_what_the_rounds_say(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = make_study(tmp_path, synthetic_folder, trials=False)
    play_rounds(asked, {0.0: 0.4, 0.5: 0.9}, 4)
    text = shown(capsys, asked, "toy:5", "toy:4")
    assert "Of the recipes the rounds of toy say: Better: drop_rate = 0.5 scores" in text
    assert NOTHING not in text
    told = complain(monkeypatch, capsys, compare, "toy:5", "toy:2", "--runs", str(tmp_path))
    assert "every round of a study has its own judges. Compare two trials of one round." in told


def test_folders_are_compared_too(played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, number in zip(folders, (1, 8), strict=True):
        folder.mkdir()
        shutil.copy(trial_folder(played.runs / "toy", number) / "valid.npz", folder / "predictions.npz")
    text = shown(capsys, played, *folders)
    assert re.findall(r"A - B .*", text) == re.findall(r"A - B .*", shown(capsys, played, "toy:1", "toy:8"))
    assert NOTHING in text


def test_order_of_the_photos_does_not_matter(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = stored(played, 8)
    order = np.random.default_rng(0).permutation(len(found.label_N))
    columns = (found.path_N, found.person_N, found.label_N, found.log_prob_NK)
    Predictions(*(column[order] for column in columns)).save(tmp_path / "valid.npz")
    mixed, plain = shown(capsys, played, "toy:1", tmp_path), shown(capsys, played, "toy:1", "toy:8")
    assert re.findall(r"A - B .*", mixed) == re.findall(r"A - B .*", plain)


def test_prior_weighs_the_people(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, played, "toy:1", "toy:8", "--prior", "male=0.9")
    plain, weighted = re.findall(r"A macro F1 ([.\d]+)|male=0.9: A ([.\d]+)", text.replace("A  macro", "A macro"))
    assert float(plain[0]) != float(weighted[1])


def beside(played: Played, name: str, confirmation: Mapping[str, Any] | None = None) -> Played:
    """Another study of the same database, without trials."""
    document = replace(played.stored, confirmation=None if confirmation is None else dict(confirmation))
    made = create_study(open_storage(default_url(played.runs), create=False), name, {KEY: document.to_json()})
    return replace(played, study=made, stored=document)


def put(played: Played, found: Predictions, state: TrialState, facts: Mapping[str, Any]) -> None:
    """A trial with these predictions."""
    folder = trial_folder(played.runs / played.study.study_name, len(played.study.trials))
    folder.mkdir(parents=True)
    found.save(folder / "valid.npz")
    value = score(found.log_prob_NK, found.label_N, MASK_TASK.space).macro_f1
    add(played, state, value if state.is_finished() else None, 0.5, 1e-2, {1: value}, dict(facts))


@pytest.fixture(scope="module")
def twin(played: Played) -> Played:
    """The same trials once more, as search.run --from copies them."""
    return make_study(played.runs, played.photos, name="second")


def test_a_trial_that_is_not_complete_says_nothing_of_recipes(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    says = "B was stopped after 2 of 4 evaluations; this says nothing about the recipes."
    text = shown(capsys, played, "toy:1", "toy:2")
    assert says in text
    assert "A was stopped after 2 of 4 evaluations and B was" in shown(capsys, played, "toy:2", "toy:11")


def test_a_running_trial_says_nothing_of_its_own_recipe(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    going = beside(played, "unended")
    put(going, stored(played, 8), TrialState.RUNNING, {})
    put(going, stored(played, 1), TrialState.COMPLETE, {"evaluations": 4, "evaluations_planned": 4})
    text = shown(capsys, played, "unended:0", "unended:1")  # of one setting
    assert "A is not complete (running); this says nothing about the recipes." in text
    assert "one recipe" not in text


def test_the_folder_of_a_trial_is_the_trial(
    played: Played, twin: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = played.stored.baseline_config
    for name in ("toy", "second"):  # a copy's files say where the original is from
        folder = trial_folder(played.runs / name, 1)
        save_config(folder / "config.toml", config, {"study": "toy", "trial": 1})
        assert shown(capsys, played, folder, "toy:0") == shown(capsys, played, f"{name}:1", "toy:0")
    shutil.copytree(folder, tmp_path / "trial-0001")
    absent = f"sqlite:///{tmp_path / 'absent.db'}"
    for elsewhere in (
        shown(capsys, played, tmp_path / "trial-0001", "toy:0"),
        shown(capsys, played, folder, trial_folder(played.runs / "toy", 0), "--storage", absent),
    ):
        assert NOTHING in elsewhere


@pytest.mark.parametrize("name", ["../toy", "n" * 300])
def test_a_study_with_a_name_that_is_no_folders_is_in_nobodys_way(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    # made first, so that it comes first in the list
    create_study(open_storage(default_url(tmp_path), create=True), name, {KEY: {}, STUDY_ID: "feed"})
    mine = make_study(tmp_path, synthetic_folder)
    config = mine.stored.baseline_config
    folder = trial_folder(tmp_path / "toy", 1)
    save_config(folder / "config.toml", config, {"study": "toy", "trial": 1})
    assert shown(capsys, mine, folder, "toy:0") == shown(capsys, mine, "toy:1", "toy:0")


def test_a_trial_and_its_copy_are_of_one_recipe(
    played: Played, twin: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Both are runs of one recipe" in shown(capsys, played, "toy:1", "second:9")
    assert NOTHING in shown(capsys, played, "toy:1", "second:0")


def test_trials_of_a_confirmation_are_compared_as_models(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    confirmation = beside(played, "toy-confirm", {"of": "toy"})
    for number in (1, 8):
        put(confirmation, stored(played, number), TrialState.COMPLETE, {"repeat": 1})
    found = stored(played, 9)
    columns = (found.path_N, found.person_N, found.label_N, found.log_prob_NK)
    put(confirmation, Predictions(*(column[9:] for column in columns)), TrialState.COMPLETE, {"repeat": 2})
    text = shown(capsys, played, "toy-confirm:0", "toy-confirm:1")
    command = f"python -m search.confirm --study toy --runs {shlex.quote(str(played.runs))}"
    assert f"search.confirm compares the recipes ({command})." in text
    assert NOTHING not in text
    assert "one recipe" not in text
    told = complain(monkeypatch, capsys, compare, "toy-confirm:0", "toy-confirm:2", "--runs", str(played.runs))
    assert "in a confirmation every repeat has its own judges. Compare two trials of one repeat." in told


@pytest.mark.parametrize("prior", ["men=0.5", "male=0.5,female=0.6"])
def test_a_wrong_prior_is_told_before_anything_is_shown(
    prior: str, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(compare, "toy:1", "toy:8", "--prior", prior, "--runs", played.runs)
    assert status == 2
    assert capsys.readouterr().out == ""


def test_without_error_there_is_no_interval(played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = stored(played, 8)
    for name, share in (("sure", 0.9), ("surer", 0.95)):  # both right about every photo
        prob_NK = np.full_like(found.log_prob_NK, (1 - share) / 17)
        prob_NK[np.arange(len(prob_NK)), found.label_N] = share
        (tmp_path / name).mkdir()
        Predictions(found.path_N, found.person_N, found.label_N, np.log(prob_NK)).save(tmp_path / name / "valid.npz")
    text = shown(capsys, played, tmp_path / "sure", tmp_path / "surer")
    assert "A  macro F1 1.0000 (-)" in text
    assert "A - B  +0.000 (-), 24 people" in text
    assert "A and B are not distinguishable." in text
    assert "interval " not in text
    assert "four times in five" not in text


def test_widened_intervals_are_said_to_be(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, played, "toy:1", "toy:8")
    assert "By part, with intervals widened so that all 3 hold at once in 95 of 100 studies:\n  mask" in text
    assert "By class, with intervals widened so that all 18 hold at once in 95 of 100 studies:\n" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("toy:1", "toy"), "toy is neither a folder nor STUDY:TRIAL, for example dropout:7."),
        (("toy:1", "toy:99"), "Study toy has no trial 99; its trials are 0 to 14."),
        (("toy:1", "toy:14"), "Trial 14 of toy (running) has no predictions"),
        (("toi:1", "toy:1"), "No study named 'toi' is stored. Nearest: toy."),
        (("toy:1", "empty"), "empty holds no predictions (valid.npz or predictions.npz)"),
        (("toy:1", "broken"), "holds no predictions: "),
        (("toy:1", "three"), "three has no config.toml, which names the task"),
        (("toy:1", "fewer"), "A and B were judged on different photos"),
        (("toy:1", "mended"), "A and B were judged with different labels of the same photos"),
        (("toy:1", "toy:1"), "A and B have the same predictions; name two different models."),
        (("toy:1", "same"), "A and B have the same predictions; name two different models."),
        (("toy:1", "toy:8", "--prior", "men=0.5"), "--prior has no group 'men'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: tuple[str, ...],
    says: str,
    played: Played,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "broken", "three", "fewer", "mended", "same"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "valid.npz").write_bytes(b"PK")
    found = stored(played, 1)
    path_N, person_N, label_N, log_prob_NK = found.path_N, found.person_N, found.label_N, found.log_prob_NK
    Predictions(path_N, person_N, label_N % 3, log_prob_NK[:, :3]).save(tmp_path / "three" / "valid.npz")
    Predictions(path_N[7:], person_N[7:], label_N[7:], log_prob_NK[7:]).save(tmp_path / "fewer" / "valid.npz")
    Predictions(path_N[::-1], person_N[::-1], label_N[::-1], log_prob_NK[::-1]).save(tmp_path / "same" / "valid.npz")
    mended_N = np.where(np.arange(len(label_N)) < 7, (label_N + 1) % 18, label_N)
    Predictions(path_N, person_N, mended_N, log_prob_NK).save(tmp_path / "mended" / "valid.npz")
    assert says in complain(monkeypatch, capsys, compare, *words, "--runs", str(played.runs))


def test_a_folder_of_an_unknown_task_is_refused(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(trial_folder(played.runs / "toy", 1) / "valid.npz", tmp_path)
    save_config(tmp_path / "config.toml", TINY, {"task": {"declared": "birds", "metric": "accuracy"}})
    told = complain(monkeypatch, capsys, compare, str(tmp_path), "toy:1", "--runs", str(played.runs))
    assert "[origin.task] is no task that this version can read" in told
