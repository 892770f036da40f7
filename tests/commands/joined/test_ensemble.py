"""search.ensemble on toy predictions: what joins, what is told and written, what is refused."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

import search.ensemble
from maskcls.model.composite import combine, read_models
from maskcls.scoring.predictions import Predictions
from search.answer.ensembles import find_ensemble
from search.database.connect import default_url, open_storage
from tests.helpers.predictions import LABEL, store, wrong
from tests.helpers.search import complain
from tests.helpers.training import run

SAID = [wrong("all", share, seed) for seed, share in enumerate((0.5, 0.4, 0.45, 0.6))]
"""They err on different photos, so that together they are better than the best alone."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    store(folder, "whole", "all", SAID)
    return folder


def ensemble(runs: Path, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, dict]:
    """What is printed, and what is written."""
    capsys.readouterr()
    studies = () if "--study" in words else ("--study", "whole")
    out = runs.parent / "team.toml"
    status = run(search.ensemble.main, *studies, "-o", out, "--runs", runs, *words)
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out, tomllib.loads(out.read_text())


def test_the_ensemble_is_shown_beside_the_best_single_model(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, written = ensemble(runs, capsys)
    models = read_models(runs.parent / "team.toml")
    assert len(models) == len(written["origin"]["members"]) > 1
    said = [Predictions.load(model.folder / "valid.npz").log_prob_NK for model in models]
    joined_NK = combine(models, said)
    weights = [model.weight or 0.0 for model in models]
    mean_NK = np.average(np.exp(np.stack(said, dtype=np.float64)), axis=0, weights=weights)
    assert np.exp(joined_NK) == pytest.approx(mean_NK, abs=1e-6)
    f1 = f1_score(LABEL, joined_NK.argmax(1), labels=range(18), average="macro", zero_division=0)
    assert written["origin"]["value"] == pytest.approx(f1, abs=1e-12)
    best = max(range(4), key=lambda number: f1_score(LABEL, SAID[number], average="macro"))
    assert f"single    trial {best} of whole: macro F1" in printed
    assert f"macro F1 {f1:.4f} (95 % interval" in printed
    assert "once corrected for being chosen from 4" in printed
    assert "once corrected: the ensemble is better" in printed
    assert written["origin"]["gain"]["verdict"] == "better"
    assert written["origin"]["corrected"] < written["origin"]["value"]
    assert f"{len(models)} models have to predict every photo" in printed  # the toys have no speed
    assert "judged by 60 people, 420 photos (split 0123abcd)" in printed


def test_cost_is_the_members_time_over_the_best_single_ones(runs: Path) -> None:
    speeds = (50.0, 100.0, 200.0, 400.0)
    store(runs, "timed", "all", SAID, facts=[{"photos_per_second": speed} for speed in speeds])
    found = find_ensemble(["timed"], 4, open_storage(default_url(runs), create=False), runs)
    expected = sum(1 / speeds[model.trial.number] for model in found.models) * speeds[found.model.trial.number]
    assert found.cost == pytest.approx(expected)


@pytest.mark.parametrize(("values", "factor"), [({"tta": "flip"}, 2.0), ({"frozen_share": 0.5}, None)])
def test_cost_counts_flips_and_is_unknown_after_steps_of_the_head_alone(
    values: dict[str, object], factor: float | None, runs: Path
) -> None:
    store(runs, "timed", "all", SAID, facts=[{"photos_per_second": 100.0, "config": {}} for _ in SAID])
    found = find_ensemble(["timed"], 4, open_storage(default_url(runs), create=False), runs)
    for model in found.models:
        model.trial.user_attrs["config"] = values
    others = [model for model in found.models if model.trial.number != found.model.trial.number]
    own = len(found.models) - len(others)
    found.model.trial.user_attrs["config"] = {}
    assert found.cost == (None if factor is None else pytest.approx(own + factor * len(others)))


def test_size_limits_the_models(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, written = ensemble(runs, capsys, "--size", 2)
    assert len(written["ensemble"]) == 2
    printed, written = ensemble(runs, capsys, "--size", 1)
    assert len(written["ensemble"]) == 1
    assert "that of one model" in printed
    # the old members go from the disk
    assert len(list((runs.parent / "team.members").iterdir())) == 1


def test_trials_of_several_studies_join(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(runs, "other", "all", [wrong("all", 0.4, 7)])
    _, written = ensemble(runs, capsys, "--study", "whole", "--study", "other", "--study", "whole")
    assert {member["study"] for member in written["origin"]["members"]} == {"whole", "other"}
    assert written["origin"]["chosen_among"] == 5


def test_a_copied_trial_takes_no_place_of_its_own(runs: Path) -> None:
    digests = [{"weights_digest": f"{number}"} for number in range(3)]
    for name in ("first", "copied"):
        store(runs, name, "all", SAID[:3], facts=digests)
    (runs / "first" / "trial-0000" / "best.safetensors").unlink()
    storage = open_storage(default_url(runs), create=False)
    alone, found = (find_ensemble(names, 5, storage, runs) for names in (["copied"], ["first", "copied"]))
    # the copy stands in where the first has no weights
    assert {model.name for model in found.models} == {"trial 0 of copied", "trial 1 of first", "trial 2 of first"}
    assert (found.best.candidates, found.without_weights) == (3, 0)
    assert found.best.selected == alone.best.selected


def test_trainings_of_later_rounds_never_join(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even one that is perfect on the same photos, since it may have trained on their people."""
    facts = [{}, {"round": 0, "place": 0, "level": "off"}, {"round": 1, "judge_round": 1, "level": "off"}]
    store(runs, "rounds", "all", [*SAID[:2], LABEL], facts=facts)
    printed, written = ensemble(runs, capsys, "--study", "rounds")
    assert {member["trial"] for member in written["origin"]["members"]} == {0, 1}
    assert written["origin"]["single"]["trial"] == 1
    assert "best ensemble of 2 trials with weights" in printed


def test_trials_without_weights_are_left_out_and_counted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "whole" / "trial-0001" / "best.safetensors").unlink()
    printed, written = ensemble(runs, capsys)
    assert {member["trial"] for member in written["origin"]["members"]} <= {0, 2, 3}
    assert written["origin"]["single"]["trial"] == 1
    assert written["origin"]["chosen_among"] == 4
    assert "1 complete trial could not join, since the weights are not kept" in printed


def test_an_ensemble_of_one_factor_predicts_that_factor(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(runs, "ages", "age", [wrong("age", share, seed) for seed, share in enumerate((0.4, 0.4, 0.5))])
    _, written = ensemble(runs, capsys, "--study", "ages")
    assert {model.part for model in read_models(runs.parent / "team.toml")} == {"age"}
    assert written["origin"]["value"] > 0.6


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and others that it cannot join."""
    runs = tmp_path_factory.mktemp("spoilt") / "runs"
    runs.mkdir()
    store(runs, "whole", "all", SAID[:1])
    store(runs, "ages", "age", [wrong("age", 0.1, 0)])
    store(runs, "elsewhere", "all", SAID[:1], split="ffff")
    store(runs, "fewer", "all", SAID[:1], photos=slice(7, None))
    store(runs, "empty", "all", [])
    store(runs, "gone", "all", SAID[:1])
    store(runs, "swapped", "all", SAID[:1], digest="0" * 64)
    store(runs, "confirmed", "all", SAID[:1], confirmation={"of": "whole"})
    (runs / "gone" / "trial-0000" / "best.safetensors").unlink()
    return runs


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--study", "hole"), "No study named 'hole' is stored. Nearest: whole"),
        (("--study", "whole", "--study", "ages"), "Studies 'whole' and 'ages' predict different classes"),
        (("--study", "whole", "--study", "elsewhere"), "study 'whole' has split 0123abcd and 'elsewhere' ffff"),
        (("--study", "whole", "--study", "fewer"), "trial 0 of whole (420 photos) and trial 0 of fewer (413 photos)"),
        (("--study", "empty"), "Study 'empty' has no complete trial yet"),
        (("--study", "gone"), "No complete trial of study 'gone' has its weights"),
        (("--study", "swapped"), "best.safetensors is not the file that trial 0 of swapped wrote"),
        (("--study", "confirmed"), "'confirmed' is the confirmation of study 'whole'"),
        (("--study", "whole", "--size", "0"), "size"),
        (("--study", "whole", "-o", "team.yaml"), "--out takes a TOML file, such as team.toml, not team.yaml."),
        (("--study", "whole", "-o", "absent/team.toml"), "There is no folder absent to write team.toml into."),
        ((), "study"),
    ],
)
def test_what_cannot_be_joined_is_one_line(
    spoilt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], hint: str
) -> None:
    out = () if "-o" in words else ("-o", str(spoilt.parent / "team.toml"))
    assert hint in complain(monkeypatch, capsys, search.ensemble.main, *words, *out, "--runs", str(spoilt))
    assert not (spoilt.parent / "team.toml").exists()
    assert not (spoilt.parent / "team.members").exists()
