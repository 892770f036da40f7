"""A worker's signs of life: only those of a training that moves, and never at the cost of waiting for a listener."""

import fcntl
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

import search.worker.events
import search.worker.heartbeat
from maskcls.data.dataset import Dataset, Table, load_dataset, progress_bar
from maskcls.system.liveness import beat, beats
from maskcls.training.loop import fit
from search.database.connect import backend_of
from search.study.attributes import WORKER
from search.worker.events import EventWriter
from search.worker.heartbeat import HeartbeatThread
from search.worker.messages import GAVE_UP, NOTHING_LEFT, Event, Moved, Outcome, RunningTrial, TrialBegan
from search.worker.worker import take_trials
from tests.helpers.search import make_job, order_for
from tests.helpers.training import CPU, TINY


class Recorder:
    """An event writer and a storage that record their calls."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ids: list[int] = []

    def send(self, event: Event) -> None:
        self.events.append(event)

    def record_heartbeat(self, trial_id: int) -> None:
        self.ids.append(trial_id)


def heartbeat_of(recorder: Recorder, is_alone: bool = False) -> HeartbeatThread:
    heartbeat = HeartbeatThread(recorder, 100, lambda: is_alone)  # type: ignore[arg-type]
    heartbeat.storage = recorder  # type: ignore[assignment]
    heartbeat.set_trial(7)
    return heartbeat


def test_a_database_that_does_not_answer_keeps_no_sign_of_life_from_the_supervisor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search.worker.heartbeat, "WRITE_SECONDS", 0.01)
    recorder, answers, asked = Recorder(), threading.Event(), list[int]()

    def wait(trial_id: int) -> None:
        asked.append(trial_id)
        answers.wait(60)

    recorder.record_heartbeat = wait  # type: ignore[method-assign]
    heartbeat = heartbeat_of(recorder)
    for _ in range(3):
        beat()
        heartbeat.check(20)
    answers.set()
    assert (recorder.events, asked) == ([Moved()] * 3, [7])  # one that waits is enough


def test_every_look_at_a_pulse_that_moves_is_told() -> None:
    recorder = Recorder()
    heartbeat = heartbeat_of(recorder)
    for _ in range(3):
        beat()
        heartbeat.check(20)
    assert (recorder.events, recorder.ids) == ([Moved()] * 3, [7] * 3)


def test_a_pulse_that_stands_still_is_not_told_and_after_a_while_the_trial_is_given_up() -> None:
    recorder = Recorder()
    heartbeat = heartbeat_of(recorder)
    for _ in range(8):
        heartbeat.check(20)
    assert (recorder.events, recorder.ids) == ([], [7] * 4)
    beat()  # it was only slow
    heartbeat.check(20)
    assert (recorder.events, recorder.ids) == ([Moved()], [7] * 5)


def test_between_trials_no_trial_is_told_of() -> None:
    recorder = Recorder()
    heartbeat = heartbeat_of(recorder)
    heartbeat.set_trial(None)
    beat()
    heartbeat.check(20)
    assert (recorder.events, recorder.ids) == ([Moved()], [])


def test_a_worker_that_hangs_ends_itself_when_its_supervisor_is_gone_or_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(search.worker.heartbeat.faulthandler, "dump_traceback", lambda: None)
    heartbeat_of(Recorder()).check(199)
    assert ended == []
    heartbeat_of(Recorder(), is_alone=True).check(100)
    assert ended == [1]
    heartbeat_of(Recorder()).check(200)  # or when the supervisor does not do it
    assert ended == [1, 1]


def test_training_judging_and_decoding_beat(few_photos: Dataset, synthetic_table: Table, tmp_path: Path) -> None:
    before = beats()
    fit(TINY, few_photos, device=CPU)
    steps = TINY.epochs * 96 // TINY.batch_size
    assert beats() - before == steps + TINY.epochs  # 42 photos are judged at once
    before = beats()
    load_dataset(synthetic_table, TINY, tmp_path)
    assert beats() - before == len(synthetic_table.photos)
    with progress_bar("nothing", 1) as tick:
        tick()
    assert beats() - before == len(synthetic_table.photos) + 1


def pipe() -> tuple[int, int]:
    """A pipe of one page."""
    theirs, ours = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 4096)
    return theirs, ours


def test_a_supervisor_that_does_not_read_keeps_no_worker_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.worker.events, "LAST_SECONDS", 0.05)
    theirs, ours = pipe()
    events = EventWriter(ours)
    for number in range(100):
        events.send(TrialBegan(number, {"text": "x" * 1000}))
    events.close()
    read = b""
    while read.count(b"\n") < 100:  # a supervisor that continues reads all of it
        read += os.read(theirs, 1 << 16)
    assert [json.loads(line)[1] for line in read.splitlines()] == list(range(100))
    events.writer.join()
    os.close(theirs)
    os.close(ours)


def test_a_supervisor_that_is_gone_is_no_matter() -> None:
    theirs, ours = pipe()
    os.close(theirs)
    events = EventWriter(ours)
    for _ in range(3):
        events.send(Moved())
    events.close()
    assert not events.writer.is_alive()
    os.close(ours)


def test_the_last_words_are_written_before_the_end() -> None:
    theirs, ours = pipe()
    events = EventWriter(ours)
    events.send(Outcome(GAVE_UP, "cause"))
    events.close()
    assert json.loads(os.read(theirs, 4096)) == ["ended", GAVE_UP, "cause"]
    os.close(theirs)
    os.close(ours)


def test_a_worker_without_a_trial_tells_which_ones_run(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    boot = (job.worker.machine or "").split()[0]
    away = replace(job.worker, machine=f"{boot} of another container", host="box")
    storage, study_id = job.study._storage, job.study._study_id
    ids = [
        storage.create_new_trial(study_id, create_trial(state=TrialState.RUNNING, user_attrs={WORKER: worker}))
        for worker in (away.to_json(), job.worker.to_json())
    ]
    for trial_id in ids:
        backend_of(job.study).record_heartbeat(trial_id)
    waits: list[tuple[RunningTrial, ...]] = []

    def end_one(running: tuple[RunningTrial, ...]) -> None:
        waits.append(running)
        storage.set_trial_state_values(ids.pop(0), TrialState.COMPLETE, [0.5])

    assert take_trials(job, order_for(tmp_path, 2), on_waiting=end_one).kind == NOTHING_LEFT
    pid = os.getpid()
    assert waits == [
        (RunningTrial(0, "box", pid, True), RunningTrial(1, job.worker.host, pid, False)),
        (RunningTrial(1, job.worker.host, pid, False),),
    ]
