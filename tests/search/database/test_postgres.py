"""The studies on a real PostgreSQL server: one decision at a time, exact counts, and lost trials taken back."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

import search.compare
import search.confirm
import search.copy
import search.database.timeouts
import search.delete
import search.export
import search.report
import search.run
import search.status
import search.system.processes
import search.terminal.copying
from maskcls.system.errors import UserError
from search.database.connect import GRACE_SECONDS, backend_of, create_study, default_url, load_study, open_storage
from search.database.optuna_internals import read_trial
from search.database.reconnecting import TOKEN, ReconnectingStorage
from search.database.study_lock import exclusive
from search.files.place import files_of
from search.files.table import FILES, check_may_copy, check_may_forget, create_table, holds_files, write_files
from search.findings.evidence import answer_of
from search.policy.policy import Policy
from search.policy.stopping import FINISHED, StoppingCriteria
from search.storage.failures import CRASH, failure
from search.storage.folder import claim_in_turn, read_marker
from search.storage.notes import save_study_note, save_trial_note, trial_note
from search.storage.orphans import requeue_orphaned, take_back_orphaned
from search.storage.outcomes import TakenOverError, decide_in_turn, finish, note_failure, put_back, report
from search.storage.queue import next_trial
from search.study.attributes import MOVED_TO, STUDY_ID, WORKER
from search.study.record import KEY, Stored, read_stored
from search.system.processes import describe_myself
from search.system.storage_url import shown_url
from search.terminal.copying import copy_study
from tests.helpers import postgres
from tests.helpers.database.copying import check_is_copied_once, copy_twice, make_study_to_copy
from tests.helpers.one_process import work_in_this_process
from tests.helpers.queue import WORKING
from tests.helpers.report import make_study
from tests.helpers.search import MINE, TOY_STUDY
from tests.helpers.training import run

ME = describe_myself("cpu.0")
STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)

HOLDER = """
import sys, time
from search.database.connect import open_storage
from search.database.study_lock import exclusive
with exclusive(open_storage(sys.argv[1], create=False), sys.argv[2]):
    print("held", flush=True)
    time.sleep(100)
"""

COUNTER = """
import sys, time
from pathlib import Path
from search.database.connect import open_storage
from search.database.study_lock import exclusive
storage, path = open_storage(sys.argv[1], create=False), Path(sys.argv[2])
for _ in range(25):
    with exclusive(storage, "s"):
        count = int(path.read_text())
        time.sleep(0.002)
        path.write_text(str(count + 1))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.serving() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    """A database of the test's own on the server."""
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("DROP DATABASE IF EXISTS one WITH (FORCE)"))
        connection.execute(sqlalchemy.text("CREATE DATABASE one"))
    engine.dispose()
    return server.replace("/postgres?", "/one?")


@pytest.fixture
def study(url: str) -> optuna.Study:
    return create_study(open_storage(url, create=True), "toy", {KEY: STORED.to_json()})


def start(script: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, text=True)


def test_one_process_at_a_time_decides(url: str, tmp_path: Path) -> None:
    open_storage(url, create=True)
    count = tmp_path / "count"
    count.write_text("0")
    counters = [start(COUNTER, url, str(count)) for _ in range(4)]
    assert [counter.wait(timeout=120) for counter in counters] == [0] * 4
    assert count.read_text() == "100"


def test_the_lock_of_a_killed_process_is_free(url: str) -> None:
    storage = open_storage(url, create=True)
    holder = start(HOLDER, url, "s")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waiter = start(HOLDER, url, "s")
        with exclusive(storage, "another study"):  # does not wait for this one
            pass
        time.sleep(0.5)
        with storage.engine.connect() as connection:
            asked = "SELECT count(*) FILTER (WHERE granted), count(*) FROM pg_locks WHERE locktype = 'advisory'"
            until = time.monotonic() + 60
            while tuple(connection.execute(sqlalchemy.text(asked)).one()) != (1, 2):
                assert time.monotonic() < until
                time.sleep(0.1)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    try:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "held\n"
    finally:
        waiter.kill()
        waiter.wait()
    with exclusive(storage, "s"):
        pass


def test_four_processes_make_exactly_as_many_trials_as_asked_for(study: optuna.Study, url: str) -> None:
    workers = [start(WORKING, url) for _ in range(4)]
    told = [worker.communicate(timeout=120)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert sorted(int(number) for numbers in told for number in numbers) == list(range(20))
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(20))
    assert all(trial.state in FINISHED for trial in trials)


def test_a_trial_of_a_silent_worker_on_another_machine_is_taken_back(study: optuna.Study) -> None:
    policy, me = Policy(TOY_STUDY, 0), describe_myself("cpu.0")
    far = replace(me, machine="another", host="far")
    first, second = (next_trial(study, policy, StoppingCriteria(3), far) for _ in range(2))
    assert first is not None
    assert second is not None
    first.report(0.4, 1)
    age(study, first._trial_id, GRACE_SECONDS - 30)
    assert requeue_orphaned(study) == []
    age(study, first._trial_id, GRACE_SECONDS + 30)
    assert requeue_orphaned(study) == [0]
    assert study.get_trials()[0].state == TrialState.WAITING
    assert study.get_trials()[0].user_attrs[WORKER] is None
    again = next_trial(study, policy, StoppingCriteria(3), me)
    assert again is not None
    assert (again.number, again.params) == (0, first.params)
    assert requeue_orphaned(study) == []  # its old heartbeat is forgotten
    finish(study, again, TrialState.COMPLETE, 0.5)
    assert study.get_trials()[0].intermediate_values == {1: 0.4}


def test_scores_and_the_end_are_stored_while_another_process_decides(study: optuna.Study, url: str) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    holder = start(HOLDER, url, "toy")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        report(study, trial, 1, 0.25, ME, lambda: None)
        finish(study, trial, TrialState.COMPLETE, 0.25, ME, lambda: trial.set_user_attr("fact", 1))
        held = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        with backend_of(study).engine.connect() as connection:
            assert connection.execute(held).scalar() == 1, "it has waited for the lock"
    finally:
        holder.kill()
        holder.wait()
    stored = study.get_trials()[0]
    assert (stored.state, stored.value, stored.intermediate_values) == (TrialState.COMPLETE, 0.25, {1: 0.25})
    assert stored.user_attrs["fact"] == 1


def test_a_score_waits_for_a_row_that_another_program_holds_too_long(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.database.timeouts, "LOCK_SECONDS", 0.1)
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    with sqlalchemy.create_engine(backend_of(study).url).connect() as other:
        other.execute(sqlalchemy.text("SELECT * FROM trials FOR UPDATE"))
        timer = threading.Timer(1, other.rollback)
        timer.start()
        report(study, trial, 1, 0.25, ME, lambda: None)
        timer.join()
    assert study.get_trials()[0].intermediate_values == {1: 0.25}


@pytest.mark.parametrize("failed", [False, True])
def test_a_takeover_leaves_no_trace_in_a_trial_that_ends_at_that_moment(
    study: optuna.Study, url: str, failed: bool
) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    other = load_study(open_storage(url, create=False), "toy")
    seen = read_trial(other, trial)
    waiting = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def store_facts() -> None:
        taken = pool.submit(decide_in_turn, other, take_over)
        takeovers.append(taken)
        with sqlalchemy.create_engine(url).connect() as connection:
            while connection.execute(waiting).scalar() == 0 and not taken.done():
                time.sleep(0.05)

    def take_over() -> None:
        if failed:
            note_failure(other, seen, failure(CRASH, "its process died"))
        else:
            put_back(other, seen)

    takeovers: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:
        finish(study, trial, TrialState.COMPLETE, 0.5, ME, store_facts)
    takeovers[0].result()
    stored = study.get_trials()[0]
    assert (stored.state, stored.value) == (TrialState.COMPLETE, 0.5)
    assert stored.user_attrs[WORKER] == ME.to_json()
    assert not {"interruptions", "failures"} & set(stored.user_attrs)


def test_a_score_that_waits_for_a_takeover_is_refused(study: optuna.Study, url: str) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    other = load_study(open_storage(url, create=False), "toy")
    waiting = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with exclusive(backend_of(other), "toy"):
            put_back(other, read_trial(other, trial))
            score = pool.submit(report, study, trial, 1, 0.25, ME, lambda: None)
            until = time.monotonic() + 60
            while backend_of(other).scoped_session().execute(waiting).scalar() == 0:
                assert time.monotonic() < until
                time.sleep(0.05)
        with pytest.raises(TakenOverError):
            score.result(timeout=60)
    assert study.get_trials()[0].intermediate_values == {}


def test_a_trial_that_ends_while_it_is_taken_back_has_ended(study: optuna.Study) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    seen = study.get_trials()
    finish(study, trial, TrialState.COMPLETE, 0.5, ME)
    del seen[0].user_attrs[WORKER]  # as of a process that died early
    decide_in_turn(study, lambda: take_back_orphaned(study, seen))
    stored = study.get_trials()[0]
    assert (stored.state, stored.value, stored.user_attrs.get("interruptions")) == (TrialState.COMPLETE, 0.5, None)


def test_what_a_failed_decision_has_stored_of_a_trial_is_undone(study: optuna.Study) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None

    def store_facts() -> None:
        trial.set_user_attr("fact", 1)
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        finish(study, trial, TrialState.COMPLETE, 0.5, ME, store_facts)
    stored = study.get_trials()[0]
    assert (stored.state, "fact" in stored.user_attrs) == (TrialState.RUNNING, False)
    finish(study, trial, TrialState.COMPLETE, 0.5, ME)
    assert study.get_trials()[0].value == 0.5


def test_trials_and_silent_ones_are_read_as_optuna_reads_them(study: optuna.Study) -> None:
    mine, theirs = backend_of(study), optuna.storages.RDBStorage(backend_of(study).url)
    for state, value in ((TrialState.COMPLETE, 0.5), (TrialState.PRUNED, float("inf")), (TrialState.RUNNING, None)):
        template = create_trial(
            state=state,
            value=value,
            params={"lr": 1e-3, "head": None},
            distributions={"lr": FloatDistribution(1e-5, 1.0, log=True), "head": CategoricalDistribution(["a", None])},
            intermediate_values={2: float("-inf"), 1: 0.25},
            user_attrs={"fact": {"a": [1, None]}},
            system_attrs={"run": "x"},
        )
        study.add_trial(template)
    trials = mine.get_all_trials(study._study_id)
    assert [vars(trial) for trial in trials] == [vars(trial) for trial in theirs.get_all_trials(study._study_id)]
    *_, running = trials
    assert [trial.number for trial in mine._get_trials(study._study_id, None, {trials[0]._trial_id}, 2)] == [0, 2]
    mine.set_trial_intermediate_value(running._trial_id, 1, float("nan"))
    assert str(theirs.get_trial(running._trial_id).intermediate_values) == "{2: -inf, 1: nan}"
    for seconds, stale in ((GRACE_SECONDS - 30, []), (GRACE_SECONDS + 1, [running._trial_id])):
        age(study, running._trial_id, seconds)
        assert mine._get_stale_trial_ids(study._study_id) == stale
        assert optuna.storages.RDBStorage._get_stale_trial_ids(mine, study._study_id) == stale
    mine.record_heartbeat(running._trial_id)
    assert mine._get_stale_trial_ids(study._study_id) == []


def age(study: optuna.Study, trial_id: int, seconds: int) -> None:
    """The trial's last heartbeat was so long ago."""
    statement = f"UPDATE trial_heartbeats SET heartbeat = now() - interval '{seconds} seconds' WHERE trial_id = :trial"
    with backend_of(study).engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement), {"trial": trial_id})


def test_two_machines_without_a_shared_folder_say_what_one_says(
    url: str,
    tmp_path: Path,
    synthetic_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The one machine has the folders of both, as if they shared them."""
    work_in_this_process(monkeypatch)
    (tmp_path / "mine.py").write_text(MINE)
    first, second, one = (tmp_path / name for name in ("first", "second", "one"))
    words = ["--study", tmp_path / "mine.py", "--data", synthetic_folder, "--storage", url, "--weights", "scratch"]
    for boot, runs, n_trials in (("a", first, 2), ("b", second, 4)):
        monkeypatch.setattr(search.system.processes, "_machine", lambda boot=boot: boot)
        more = ("--runs", runs, "--n-trials", n_trials, "--device", "cpu", "--workers", 1)
        assert run(search.run.main, *words, *more) == 0
    monkeypatch.setattr(search.system.processes, "_machine", lambda: "a")  # adds rounds to those of both
    more = ("--runs", first, "--repeats", 2, "--device", "cpu", "--workers", 1)
    assert run(search.confirm.main, "--study", "mine", "--storage", url, *more) == 0
    study = load_study(open_storage(url, create=False), "mine")
    ran = [files.folder for trial in study.get_trials() if (files := files_of(trial)) is not None]
    assert [Path(folder).parents[1] for folder in ran] == [first] * 2 + [second] * 2 + [first] * 4
    assert {path.name for path in (second / "mine").glob("trial-*")} == {"trial-0002", "trial-0003"}
    shutil.copytree(first, one)
    shutil.copytree(second / "mine", one / "mine", dirs_exist_ok=True)

    def told(runs: Path) -> list[str]:
        """All that readers say of the study on this machine, without its own folder's name."""
        place, said = ("--storage", url, "--runs", runs), []
        for command in (
            (search.report.main, "--study", "mine", "--no-photos", "-o", tmp_path / "report"),
            (search.compare.main, "mine:1", "mine:0"),
            (search.export.main, "--study", "mine", "-o", tmp_path / "best.toml"),
        ):
            capsys.readouterr()
            assert run(*command, *place) == 0
            said.append(capsys.readouterr().out.replace(str(runs), "RUNS"))
        page = (tmp_path / "report" / "report.md").read_text().replace(str(runs), "RUNS")
        return [*said, re.sub("Made .* by search.report", "", page), (tmp_path / "best.toml").read_text()]

    assert told(second) == told(one)
    ours, theirs = (answer_of(study, read_stored(study), runs) for runs in (first, one))
    assert ours == theirs
    assert ours.left_out == ()
    assert ours.rounds is not None
    assert {len(side.trials) for side in ours.rounds.sides} == {4}
    assert ours.rounds.looks
    assert run(search.delete.main, "--study", "mine", "--storage", url, "--runs", first, "--yes") == 0
    with open_storage(url, create=False).engine.connect() as connection:
        assert connection.execute(sqlalchemy.select(FILES.c.trial)).first() is None


def test_a_study_is_the_same_there_and_back(url: str, tmp_path: Path, synthetic_folder: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    played = make_study(here, synthetic_folder)
    (here / "artifacts").mkdir()
    (here / "artifacts" / "picture").write_bytes(b"a picture")
    shown = {"artifact_id": "picture", "filename": "confusion.png", "mimetype": "image/png", "encoding": None}
    system = {"artifacts:picture": json.dumps(shown)}
    played.study.add_trial(create_trial(state=TrialState.FAIL, system_attrs=system))
    *_, trial = played.study.get_trials()
    save_trial_note(played.study, trial._trial_id, f"![it](/artifacts/1/{trial._trial_id}/picture)")
    save_study_note(played.study, "what it asks")
    wanted = answer_of(played.study, played.stored, here)

    def copy(source: str, runs: Path, target: str, *more: str) -> optuna.Study:
        words = ("--study", "toy", "--storage", source, "--runs", runs, "--to", target, *more)
        assert run(search.copy.main, *words) == 0
        return load_study(open_storage(target, create=False), "toy")

    on_server = copy(default_url(here), here, url)
    assert answer_of(on_server, played.stored, there) == wanted  # on a machine without the folder
    back = copy(url, there, f"sqlite:///{there}/back.db")
    assert answer_of(back, played.stored, there) == wanted
    assert (there / "toy" / "trial-0001" / "valid.npz").is_file()
    assert (there / "artifacts" / "picture").read_bytes() == b"a picture"
    with back._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        assert not sqlalchemy.inspect(connection).has_table("mask_search_files")

    before = load_study(open_storage(default_url(here), create=False), "toy")
    for study in (on_server, back):
        assert facts_of(study) == facts_of(before)
    last = back.get_trials()[-1]._trial_id
    note = trial_note(back._storage.get_study_system_attrs(back._study_id), last)
    assert note == f"![it](/artifacts/{back._study_id}/{last}/picture)"
    marker = read_marker(there / "toy")
    assert marker is not None
    assert marker.storage == "back.db"


def test_of_two_copies_at_once_the_second_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study_to_copy(tmp_path)
    second, first = copy_twice(url, tmp_path, monkeypatch)
    assert first is None
    assert re.search(r"Another search\.copy is copying to .* \(mask-search .*, server process", str(second))
    check_is_copied_once(url, tmp_path)


def test_a_copy_whose_lock_was_lost_leaves_the_study_to_the_command_that_has_begun_another(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, real = make_study_to_copy(tmp_path), search.terminal.copying.store_trial

    def store(copied: optuna.Study, trial: FrozenTrial) -> int:
        if trial.number == 1:  # the other command has begun, and is not done when this one notices it
            search.terminal.copying._begin(study, STORED, open_storage(url, create=False), "toy")
        return real(copied, trial)

    monkeypatch.setattr(search.terminal.copying, "store_trial", store)
    with pytest.raises(UserError, match="was deleted while it was made"):
        copy_study(study, open_storage(url, create=True), "toy", tmp_path)
    assert study.user_attrs[MOVED_TO] == {"storage": shown_url(url), "name": "toy"}
    monkeypatch.undo()
    copy_study(study, open_storage(url, create=False), "toy", tmp_path)
    check_is_copied_once(url, tmp_path)


def facts_of(study: optuna.Study) -> tuple[object, ...]:
    """All that is stored of a study and its trials, but for ids of the database and for where files are."""
    ours = {key: value for key, value in study.user_attrs.items() if key != MOVED_TO}
    dashboards = {
        key: value
        for key, value in study._storage.get_study_system_attrs(study._study_id).items()
        if not re.match(r"dashboard:\d", key)
    }
    trials = [
        (
            *(trial.number, trial.state, trial.values, trial.params, trial.distributions, trial.intermediate_values),
            *(trial.datetime_start, trial.datetime_complete),
            {key: value for key, value in trial.user_attrs.items() if key != "files"},
            {key: value for key, value in trial.system_attrs.items() if key != TOKEN},
        )
        for trial in study.get_trials()
    ]
    return ours, dashboards, trials


def test_the_rights_of_the_user_decide_where_files_are_kept(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(url, create=True)
    with storage.engine.begin() as connection:
        for statement in (
            "CREATE ROLE reader LOGIN",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO reader",
        ):
            connection.execute(sqlalchemy.text(statement))
    theirs = open_storage(url.replace("postgres@", "reader@"), create=False)
    assert "permission denied" in create_table(theirs)
    assert not holds_files(theirs)
    assert create_table(storage) == ""
    assert holds_files(storage)
    assert "permission denied" in create_table(theirs)  # it is there, and not for them
    assert not holds_files(theirs)
    for check in (check_may_copy, check_may_forget):
        with pytest.raises(UserError, match="permission denied"):
            check(theirs)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("GRANT INSERT, SELECT ON mask_search_files TO reader"))
    check_may_copy(theirs)
    check_is_not_deleted(storage, theirs.url, tmp_path, capsys)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("GRANT DELETE ON mask_search_files TO reader"))
        (row,) = connection.execute(sqlalchemy.select(FILES.c.study))  # asking has left nothing
        assert row.study == "a" * 32
    assert create_table(theirs) == ""
    assert holds_files(theirs)
    assert run(search.delete.main, "--study", "toy", "--runs", tmp_path, "--yes", "--storage", theirs.url) == 0
    with storage.engine.begin() as connection:
        assert connection.execute(sqlalchemy.select(FILES.c.trial)).first() is None


def check_is_not_deleted(
    storage: ReconnectingStorage, url: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who may not delete a study's files is told so while all of the study is still there."""
    study = create_study(storage, "toy", {KEY: STORED.to_json(), STUDY_ID: "a" * 32})
    write_files(storage, "a" * 32, 0, {"valid.npz": b"predictions"})
    folder = claim_in_turn(storage, "toy", runs)
    capsys.readouterr()
    assert run(search.delete.main, "--study", "toy", "--runs", runs, "--yes", "--storage", url) == 2
    told = capsys.readouterr().err
    assert "cannot be deleted: permission denied for table mask_search_files. Let the owner" in told
    assert read_marker(folder) is not None
    assert optuna.get_all_study_names(storage) == [study.study_name]


def test_a_study_runs_from_end_to_end(
    url: str, tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    runs = tmp_path / "runs"
    words = ["--study", tmp_path / "mine.py", "--data", synthetic_folder, "--runs", runs, "--storage", url]
    assert run(search.run.main, *words, "--weights", "scratch", "--n-trials", 3, "--device", "cpu") == 0
    trials = load_study(open_storage(url, create=False), "mine").get_trials()
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert all(trial.state in FINISHED and trial.value is not None for trial in trials)
    assert (runs / "mine" / "trial-0000" / "valid.npz").is_file()
    assert not (runs / "studies.db").exists()
    capsys.readouterr()
    place = ("--study", "mine", "--runs", runs, "--storage", url)
    assert run(search.status.main, *place) == 0
    assert "Study mine: Does dropout help the toy?" in capsys.readouterr().out
    assert run(search.delete.main, *place, "--yes") == 0
    assert optuna.get_all_study_names(open_storage(url, create=False)) == []
    assert not (runs / "mine").exists()
