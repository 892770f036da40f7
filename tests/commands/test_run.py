"""search.run from end to end on drawn faces, and the way from its best trial back to maskcls.train."""

import tomllib
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sklearn.metrics import f1_score

import maskcls.train
import search.export
import search.run
from search.database.connect import load_study, open_storage
from tests.helpers.one_process import work_in_this_process
from tests.helpers.search import MINE, Place, complain, succeed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Place:
    """Where the study has been run for three trials."""
    place = Place(tmp_path_factory.mktemp("place"), synthetic_folder)
    (place.folder / "mine.py").write_text(MINE)
    succeed(search.run.main, *place.command, "--n-trials", "3")
    return place


def test_it_ends_with_as_many_trials_as_asked_for(place: Place) -> None:
    trials = place.trials()[:3]
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert trials[0].params == {"drop_rate": 0.0, "lr": 1e-2}
    assert [(trial.user_attrs.get("round"), trial.params["drop_rate"]) for trial in trials[:2]] == [(0, 0.0), (0, 0.5)]
    assert trials[1].params == {"drop_rate": 0.5, "lr": 1e-2}  # the other level, at the baseline's setting
    for trial in trials:
        assert (place.folder / "runs" / "mine" / f"trial-{trial.number:04d}" / "best.safetensors").is_file()


def test_the_same_command_again_does_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = [(trial.number, trial.datetime_complete) for trial in place.trials()]
    succeed(search.run.main, *place.command, "--n-trials", "3")
    told = capsys.readouterr().out
    assert "Study mine already has its 3 trials." in told
    assert "Best so far: " in told
    assert "macro F1" in told
    assert [(trial.number, trial.datetime_complete) for trial in place.trials()] == before


def test_a_larger_number_adds_the_difference(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    had = len(place.trials())
    succeed(search.run.main, *place.command, "--n-trials", str(had + 1))
    told = capfd.readouterr().out
    assert f"trials    {had} of {had + 1} done" in told
    assert f"trial {had}: evaluation 1 of 2" in told
    assert len(place.trials()) == had + 1


@pytest.mark.parametrize(
    ("more", "hints"),
    [
        (("--set", "epochs=5"), ("epochs = 2", "says 5")),
        (("--set", "image_size=48"), ("image_size = [32, 32]", "says [48, 48]")),
        (("--set", "lr=0.01"), ("lr = tuned", "says 0.01")),
        (("--seed", "4"), ("seed = 0", "says 4")),
        (("--set", "split_seed=1"), ("split_seed = 0", "says 1")),
        (("--people", "59"), ("people = 0", "says 59")),
        (("--data", "synthetic"), ("synthetic = False", "says True")),
    ],
)
def test_another_study_under_the_same_name_is_refused_with_both_values(
    place: Place,
    more: tuple[str, ...],
    hints: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work_in_this_process(monkeypatch)
    told = complain(monkeypatch, capsys, search.run.main, *place.command, "--n-trials", "9", *more)
    assert "Study 'mine' is stored with" in told
    assert all(hint in told for hint in hints), told
    assert "--name" in told


def test_the_exported_config_trains_to_the_same_macro_f1_to_the_last_digit(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = str(place.folder / "runs")
    succeed(search.export.main, "--study", "mine", "-o", str(tmp_path / "best.toml"), "--runs", runs)
    best = max((t for t in place.trials() if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0)
    told = capsys.readouterr().out
    assert f"trial {best.number} of mine, macro F1 {best.value!r}" in told
    assert "python -m maskcls.train --config" in told
    origin = tomllib.loads((tmp_path / "best.toml").read_text())["origin"]
    assert (origin["study"], origin["trial"], origin["value"]) == ("mine", best.number, best.value)
    config = ("--config", str(tmp_path / "best.toml"))
    again = tmp_path / "again"
    succeed(maskcls.train.main, *config, "--data", str(place.data), "-o", str(again), "--runs", runs)
    assert f"Trial {best.number} of mine had {best.value!r}: the same." in capsys.readouterr().out
    with np.load(again / "valid.npz") as file:
        truth, predicted = file["label_N"], file["log_prob_NK"].argmax(1)
    assert best.value == pytest.approx(
        f1_score(truth, predicted, labels=range(18), average="macro", zero_division=0), abs=1e-12
    )
    assert {path.name for path in again.iterdir()} == {
        path.name for path in (place.folder / "runs" / "mine" / f"trial-{best.number:04d}").iterdir()
    }


def test_any_finished_trial_can_be_exported(place: Place, tmp_path: Path) -> None:
    runs = str(place.folder / "runs")
    words = ("--study", "mine", "--trial", "1", "-o", str(tmp_path / "one.toml"), "--runs", runs)
    succeed(search.export.main, *words)
    stored = tomllib.loads((tmp_path / "one.toml").read_text())
    assert (stored["drop_rate"], stored["lr"]) == (0.5, 1e-2)


def test_without_data_it_runs_a_preview_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    work_in_this_process(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE, encoding="utf-8")
    succeed(search.run.main, "--study", "mine.py", "--n-trials", "1", "--people", "60")
    told = capfd.readouterr().out
    assert "PREVIEW" in told.splitlines()[0]
    assert "python -m search.run --study mine.py --n-trials 1 --data DIR" in told
    assert "Study mine-preview: Does dropout help the toy?" in told
    assert "says nothing about faces" in told
    assert "60 people" in told
    storage = open_storage("sqlite:///runs/studies.db", create=False)
    assert optuna.get_all_study_names(storage) == ["mine-preview"]
    (trial,) = load_study(storage, "mine-preview").get_trials()
    assert trial.user_attrs["config"]["epochs"] == 1
    assert trial.user_attrs["config"]["people"] == 60
    # and the same photos, asked for by name, are no preview
    succeed(search.run.main, "--study", "mine.py", "--n-trials", "1", "--data", "synthetic", "--people", "60")
    told = capfd.readouterr().out
    assert "PREVIEW" not in told
    assert "Study mine: " in told
    assert "says nothing about faces" in told
