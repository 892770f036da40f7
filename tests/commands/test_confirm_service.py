"""search.confirm as its users have it: real trainings that are interrupted, killed and gone on with."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.trial import FrozenTrial, TrialState, create_trial

import search.confirm
import search.run
from maskcls.config import load_config
from maskcls.data.dataset import Table, load_dataset, read_table
from maskcls.scoring.predictions import Predictions
from maskcls.training.loop import fit
from search.answer.confirmation import read_confirmation
from search.database.connect import create_study, default_url, load_study, open_storage
from search.storage.retention import trial_folder
from search.study.record import KEY, Stored
from search.study.space import distributions
from search.study.study import Choice, Float, Study
from tests.helpers.one_process import work_in_this_process
from tests.helpers.processes import end, read_until, worker_of
from tests.helpers.search import MINE, TOY_STUDY, complain
from tests.helpers.training import heed_signals, run

EPOCHS = 6

STUDY = Study(
    question="Does dropout help the toy?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-3, 1e-1, log=True)},
    fixed={**TOY_STUDY.fixed, "epochs": EPOCHS, "evaluations_per_epoch": 1},
    baseline={"drop_rate": 0.0, "lr": 1e-2},
)


@pytest.fixture
def runs(tmp_path: Path, synthetic_folder: Path, synthetic_table: Table) -> Path:
    """A folder with a finished search, ``mine``, whose two trials nobody has trained."""
    stored = Stored(
        STUDY, str(synthetic_folder), synthetic_table.hash, {"source": "scratch"}, "scratch", "auto", False, 0
    )
    (tmp_path / "runs").mkdir()
    study = create_study(open_storage(default_url(tmp_path / "runs"), create=True), "mine", {KEY: stored.to_json()})
    for level in (0.0, 0.5):
        study.add_trial(
            create_trial(
                value=0.5,
                params={"drop_rate": level, "lr": 1e-2},
                distributions=distributions(STUDY.space),
                user_attrs={"seconds": 2.0},
            )
        )
    return tmp_path / "runs"


def trials(runs: Path) -> list[FrozenTrial]:
    return load_study(open_storage(default_url(runs), create=False), "mine-confirm").get_trials()


@pytest.fixture
def confirm(runs: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the command."""

    def start(*more: str) -> "subprocess.Popen[str]":
        words = ["--study", "mine", "--top", "1", "--runs", str(runs), "--device", "cpu", *more]
        command = [sys.executable, "-u", "-m", "search.confirm", *words]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heed_signals
        )

    return start


def last_value(runs: Path, data: Path, trial: FrozenTrial) -> float:
    """Of an undisturbed run of the trial's own config file."""
    config, origin = load_config(trial_folder(runs / "mine-confirm", trial.number) / "config.toml")
    table = read_table(data, config)
    assert origin["split"] == trial.user_attrs["split"] == table.hash
    result = fit(config, load_dataset(table, config, runs / "cache"), device=torch.device("cpu"))
    return result.history[-1].scores.macro_f1


def test_whoever_is_stopped_or_killed_it_comes_to_the_same(
    runs: Path,
    confirm: Callable[..., "subprocess.Popen[str]"],
    synthetic_folder: Path,
    synthetic_table: Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    process = confirm("--repeats", "2")
    output = read_until(process, f"evaluation 2 of {EPOCHS}")
    assert "the 12 who chose the finalists only train" in output
    assert "drop_rate = 0.5: drop_rate=0.5 lr=0.01" in output
    assert "trainings 0 of 4 done: 2 per finalist, 6 epochs each, without pruning" in output
    process.send_signal(signal.SIGINT)
    output, status = end(process)
    assert status == 130
    assert "Stopped by Ctrl-C at 0 of 4 trials. The same command continues the study." in output
    assert "No verdict yet" in output
    (trial,) = trials(runs)
    assert trial.state == TrialState.WAITING
    known = dict(trial.intermediate_values)
    assert 2 <= len(known) < EPOCHS

    process = confirm("--repeats", "2")
    read_until(process, f"trial 1: evaluation 2 of {EPOCHS}")
    os.kill(worker_of(trials(runs)[1]).pid, signal.SIGKILL)
    output, status = end(process)
    assert status == 0, output
    assert "its worker died (SIGKILL)" in output
    assert "Confirmation of mine: 2 of 2 repeats" in output

    work_in_this_process(monkeypatch)
    more = ("--study", "mine", "--repeats", "3", "--top", "1", "--runs", runs)  # these stay, others come after them
    assert run(search.confirm.main, *more, "--device", "cpu") == 0
    assert "trainings 4 of 6 done" in capsys.readouterr().out
    done = trials(runs)
    assert known.items() <= done[0].intermediate_values.items()
    assert [trial.state for trial in done] == [TrialState.COMPLETE] * 6
    assert [(trial.user_attrs["repeat"], trial.user_attrs["finalist"]) for trial in done] == [
        (repeat, index) for repeat in (1, 2, 3) for index in (0, 1)
    ]
    assert [trial.params["drop_rate"] for trial in done] == [0.0, 0.5] * 3
    assert all(trial.value == trial.intermediate_values[EPOCHS] for trial in done)
    assert [last_value(runs, synthetic_folder, trial) for trial in done[:2]] == [trial.value for trial in done[:2]]

    photos = synthetic_table.photos
    chose = set(photos.loc[photos["split"] == "valid", "person"])
    judges = [
        set(Predictions.load(trial_folder(runs / "mine-confirm", trial.number) / "valid.npz").person_N)
        for trial in done
    ]
    assert all(judges[index] == judges[index + 1] and not judges[index] & chose for index in (0, 2, 4))
    assert len(set.union(*judges)) == sum(map(len, judges[::2]))
    assert len({trial.user_attrs["split"] for trial in done}) == 3

    outcome = read_confirmation(load_study(open_storage(default_url(runs), create=False), "mine"))
    assert outcome is not None
    assert (outcome.repeats, outcome.judges) == (3, len(set.union(*judges)))
    assert outcome.finalists[0].scores == tuple(trial.value for trial in done[::2])

    assert run(search.confirm.main, *more) == 0
    assert "Study mine-confirm already has its 6 trainings." in capsys.readouterr().out
    (tmp_path / "mine.py").write_text(MINE)
    words = ("--study", str(tmp_path / "mine.py"), "--data", str(synthetic_folder), "--weights", "scratch")
    output = complain(monkeypatch, capsys, search.run.main, *words, "--runs", str(runs), "--name", "mine-confirm")
    assert "'mine-confirm' is the confirmation of study 'mine'" in output


def test_other_weights_than_the_search_had_are_refused(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_in_this_process(monkeypatch)
    words = ("--study", "mine", "--top", "1", "--runs", str(runs), "--device", "cpu")
    told = complain(monkeypatch, capsys, search.confirm.main, *words, "--weights", str(tmp_path / "nowhere"))
    assert told.startswith("error: --weights takes auto")
    assert trials(runs) == []
