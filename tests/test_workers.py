"""The process that works through a study's trials; with a double in the place of training."""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from search_fixtures import TOY_STUDY, Watching, ask, make_job, make_setup

import search.workers
from maskcls.dataset import Table
from search.objective import Job, StopRequest
from search.storage import WORKER, default_url, finish, has_study, load_study, open_storage, requeue_lost
from search.stored import read_stored
from search.summary import summarise
from search.workers import MOST_CRASHES, _run_trials, _stop_on_signals, work

C, P, X, D = "complete", "pruned", "crash", "diverged at once"


def fates(monkeypatch: pytest.MonkeyPatch, of_trials: Sequence[str]) -> None:
    """The next trials end like this, without training."""
    left: Iterator[str] = iter(of_trials)

    def end(job: Job, trial: optuna.Trial) -> TrialState:
        fate = next(left)
        if fate == X:
            finish(job.study, trial, TrialState.FAIL, None)
            raise RuntimeError(f"trial {trial.number} is cursed")
        state = TrialState.COMPLETE if fate == C else TrialState.PRUNED
        if fate != D:
            facts = {"evaluations": 2 if fate == P else 4, "evaluations_planned": 4, "seconds": 10.0}
            for key, value in facts.items():
                trial.set_user_attr(key, value)
        finish(job.study, trial, state, None if fate == D else 0.5 + trial.number / 100)
        return state

    monkeypatch.setattr(search.workers, "run_trial", end)


def run_work(monkeypatch: pytest.MonkeyPatch, runs: Path, table: Table, n_trials: int, of_trials: Sequence[str]) -> int:
    """Exit status of ``work`` on the toy study in ``runs``, planned without timing anything."""
    monkeypatch.setattr(search.workers, "show_estimate", lambda *args: None)
    fates(monkeypatch, of_trials)
    return work(make_setup(runs, table), open_storage(default_url(runs), create=True), n_trials, None, None)


def test_it_runs_until_the_study_has_so_many(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    fates(monkeypatch, [C, P, X, C, X, X, P])
    assert _run_trials(job, 4) == ""
    assert [trial.state for trial in job.study.get_trials()].count(TrialState.FAIL) == 3
    assert _run_trials(job, 4) == ""
    assert len(job.study.get_trials()) == 7


def test_three_crashes_in_a_row_end_it_with_the_last_ones_cause(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    fates(monkeypatch, [X, X, C, X, P, X, X, X, C])
    assert MOST_CRASHES == 3
    assert _run_trials(job, 50) == "RuntimeError: trial 7 is cursed"
    assert len(job.study.get_trials()) == 8


def test_giving_up_is_exit_status_1_and_says_where_the_tracebacks_are(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_work(monkeypatch, tmp_path, synthetic_table, 5, [C, X, X, X]) == 1
    told = capsys.readouterr().out
    assert "Gave up: 3 trials in a row crashed. The last one's cause: RuntimeError: trial 3 is cursed" in told
    assert "crash.txt" in told
    assert str(tmp_path / "toy") in told


def test_the_baseline_is_trial_0_and_the_document_is_stored(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_work(monkeypatch, tmp_path, synthetic_table, 3, [C, P, C]) == 0
    study = load_study(open_storage(default_url(tmp_path), create=False), "toy")
    first = study.get_trials()[0]
    assert first.params == TOY_STUDY.baseline
    assert first.user_attrs["role"] == "baseline"
    assert read_stored(study).study.question == TOY_STUDY.question
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    told = capsys.readouterr().out
    assert "SYNTHETIC PHOTOS: says nothing about faces" in told
    assert "after evaluation 1, 2 of 4" in told
    assert "Pruning stopped 1 of 3 trials and saved 17% of the training, about 10 s." in told
    assert "best      trial 2: macro F1 0.5200" in told
    assert "baseline  trial 0: macro F1 0.5000" in told


def test_the_end_shows_what_each_level_came_to(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_work(monkeypatch, tmp_path, synthetic_table, 4, [C, C, P, P])
    told = capsys.readouterr().out.splitlines()
    level = {line.split()[2]: line.split()[3:] for line in told if line.startswith("  drop_rate = ")}
    assert level["0.0"] == ["0.5000", "1", "complete,", "1", "pruned"]
    assert level["0.5"] == ["0.5100", "1", "complete,", "1", "pruned"]


def test_a_baseline_that_diverged_at_once_is_shown_as_such(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_work(monkeypatch, tmp_path, synthetic_table, 2, [D, C]) == 0


def test_a_study_in_which_everything_diverged_has_no_best(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_work(monkeypatch, tmp_path, synthetic_table, 2, [D, D]) == 0
    assert "No trial is complete yet." in capsys.readouterr().out


def test_what_the_plan_finds_impossible_is_not_stored(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("cannot be built")

    monkeypatch.setattr(search.workers, "show_estimate", refuse)
    storage = open_storage(default_url(tmp_path), create=True)
    with pytest.raises(ValueError, match="cannot be built"):
        work(make_setup(tmp_path, synthetic_table), storage, 2, None, None)
    assert not has_study(storage, "toy")


def test_a_time_limit_stops_it_and_the_same_command_goes_on(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search.workers, "show_estimate", lambda *args: None)
    setup = make_setup(tmp_path, synthetic_table)
    storage = open_storage(default_url(tmp_path), create=True)
    assert work(setup, storage, 2, 0.0, None) == 0
    assert "Stopped by --timeout at 0 of 2 trials. The same command goes on." in capsys.readouterr().out
    assert run_work(monkeypatch, tmp_path, synthetic_table, 2, [C, C]) == 0


def test_a_trial_handed_out_again_is_not_taken_back_before_it_is_claimed(
    tmp_path: Path, synthetic_table: Table
) -> None:
    job = make_job(tmp_path, synthetic_table)
    ask(job).set_user_attr(WORKER, {"host": socket.gethostname(), "pid": 1, "started": -1})  # a process that is dead
    assert requeue_lost(job.study) == [0]
    assert ask(job).number == 0
    assert requeue_lost(job.study) == []  # as another worker that starts just now


def test_a_stop_is_asked_for_by_a_reason_or_a_deadline() -> None:
    assert not StopRequest()
    assert StopRequest("Ctrl-C")
    late = StopRequest(deadline=0.0)
    assert late
    assert late.reason == "--timeout"
    assert not StopRequest(deadline=float("inf"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_one_stops_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = StopRequest()
    with _stop_on_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.reason in ("Ctrl-C", number.name)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_signal_between_two_trials_begins_no_other(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table, watcher=Watching())
    job.stop.reason = "SIGTERM"
    fates(monkeypatch, [])
    assert _run_trials(job, 3) == ""
    assert job.study.get_trials() == []


def test_a_summary_names_the_commands_that_come_next(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(tmp_path, synthetic_table)
    fates(monkeypatch, [C])
    _run_trials(job, 1)
    summarise(job.study, job.setup.stored, tmp_path, None)
    told = capsys.readouterr().out
    assert f"python -m search.export --study toy -o best.toml --runs {tmp_path}" in told
    assert f"optuna-dashboard sqlite:///{tmp_path}/studies.db --artifact-dir {tmp_path}/artifacts" in told
