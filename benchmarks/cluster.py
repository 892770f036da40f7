"""Many workers on one server: is anything lost or doubled, what does a turn cost, and how busy are they?

    python benchmarks/cluster.py exact --workers 100 --trials 400 --seconds 20 --kills 33
    python benchmarks/cluster.py asks --workers 1 8 32 100 --stored 1000
    python benchmarks/cluster.py exact --mariadb --workers 4 --trials 24 --seconds 10 --kills 3
    python benchmarks/cluster.py cost --stored 100 --running 100

The server is a fresh one with its default settings, so it has 97 connections for its users, of which this benchmark is
one; with --mariadb it is MariaDB's, of which this machine needs the programs and the driver pymysql. A worker is a
process that takes trials from the queue, stores scores and heartbeats, prunes and ends trials by the service's own
code; instead of training it sleeps and reports a recorded curve (curves.jsonl), so it needs no torch.

"exact": while they work, so many workers are killed (SIGKILL) at random times, and other processes take their places,
as an engine would start them; the server is killed once and started again. At the end there must be exactly so many
finished trials, each stored by one worker and with its whole curve, none running or waiting, and no training of a round
dealt twice. "busy" is the share of the time in which a worker slept for its training, from the moment when all have
begun a trial until the last trial was begun; with kills it counts the workers that were not killed.

"asks": every worker takes trials and ends them at once, for a while, in a study that has so many: trials per second,
and what a turn took of the wait for the study's lock and of holding it.

"cost": what one worker's calls cost in CPU time, of the worker and of the server, in a study with so many finished and
running trials.
"""

import argparse
import itertools
import json
import math
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the service's workers; before NumPy is loaded
import optuna
import psycopg
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

import search.database.study_lock
from maskcls.system.liveness import beat
from search.database.connect import create_study, load_study, open_storage
from search.database.reconnecting import ReconnectingStorage
from search.policy.policy import Policy
from search.policy.stopping import FINISHED, StoppingCriteria, count_finished
from search.storage.outcomes import TakenOverError, finish, report
from search.storage.queue import next_trial
from search.study.attributes import PLACE, ROUND
from search.study.record import KEY, Stored, read_stored
from search.study.study import Choice, Float, Sampler, Study
from search.system.processes import WorkerIdentity, describe_myself
from search.worker.events import EventWriter
from search.worker.heartbeat import HeartbeatThread

NAME, EVALUATIONS, STALL_SECONDS = "cluster", 5, 600.0
CURVES = Path(__file__).with_name("curves.jsonl")
LOCK_WAIT, LOCK_HELD, ASKED, SLEPT, BEGUN, ENDED = "wait", "held", "ask", "slept", "begun", "ended"
POLL_SECONDS = 1.0


def study_of(sampler: str) -> Study:
    """A study of three levels, and of two hyperparameters that are tuned."""
    return Study(
        question="Does dropout help the sleeper?",
        scientific={"drop_rate": Choice(0.0, 0.3, 0.7)},
        nuisance={"lr": Float(1e-4, 1e-2, log=True), "weight_decay": Float(1e-4, 1.0, log=True)},
        fixed={"epochs": EVALUATIONS, "evaluations_per_epoch": 1},
        baseline={"drop_rate": 0.0, "lr": 1e-3, "weight_decay": 1e-2},
        synthetic=True,
        sampler=Sampler(sampler),
    )


def document(sampler: str) -> Stored:
    return Stored(study_of(sampler), "synthetic", "0", {"source": "scratch"}, "scratch", "auto", False, 0)


@cache
def recorded() -> list[dict[str, Any]]:
    """The recorded trainings whose curves are whole."""
    lines = (json.loads(line) for line in CURVES.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if len(line["curve"]) == 2 * EVALUATIONS]


def curve_of(params: Mapping[str, Any]) -> list[float]:
    """The curve of the nearest recorded training."""

    def distance(line: Mapping[str, Any]) -> float:
        other = line["params"]
        ratios = (math.log10(params[name] / other[name]) for name in ("lr", "weight_decay"))
        return sum(ratio**2 for ratio in ratios) + (params["drop_rate"] - other["drop_rate"]) ** 2

    found: list[float] = min(recorded(), key=distance)["curve"]
    return found[1::2]


@dataclass(frozen=True)
class Order:
    """What a worker needs to know."""

    url: str
    slot: str
    log: Path
    n_trials: int
    seconds: float
    """Of a trial that is not stopped early."""
    stop: Path
    """It takes no more trials once this file is there."""


class Log:
    """A worker's measurements, a line each, so that a kill loses one at most."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", encoding="utf-8", buffering=1)

    def note(self, kind: str, *values: float) -> None:
        self.file.write(json.dumps([kind, *values]) + "\n")


def work(order: Order) -> None:
    """A worker: the main loop of search.worker.worker, without looks, and with sleep for training."""
    log = Log(order.log)
    _time_turns(log)
    storage = open_storage(order.url, create=False, waits=True, slot=order.slot)
    study = load_study(storage, NAME)
    stored, me = read_stored(study), describe_myself(order.slot)
    policy, limits = Policy(stored.study, stored.seed), StoppingCriteria(order.n_trials)
    heartbeat = HeartbeatThread(EventWriter(os.open(os.devnull, os.O_WRONLY)), STALL_SECONDS, lambda: False)
    heartbeat.storage = storage
    heartbeat.start()
    while not order.stop.exists():
        beat()
        began = time.perf_counter()
        trial = next_trial(study, policy, limits, me)
        if trial is None:
            if policy.reached(limits, study.get_trials(deepcopy=False)):
                return
            time.sleep(POLL_SECONDS * random.uniform(0.5, 3))
            continue
        log.note(ASKED, time.perf_counter() - began)
        heartbeat.set_trial(trial._trial_id)
        log.note(BEGUN, trial.number, time.time())
        try:
            train(study, policy, trial, me, order.seconds, log)
            log.note(ENDED, trial.number, time.time())
        except TakenOverError:
            pass  # it seemed dead while the server was away
        heartbeat.set_trial(None)


def train(study: optuna.Study, policy: Policy, trial: Trial, me: WorkerIdentity, seconds: float, log: Log) -> None:
    """Sleep and report, and end the trial as search.worker.objective does."""
    curve, state = curve_of(trial.params), TrialState.COMPLETE
    if seconds == 0:
        curve = curve[-1:]
    stored = study._storage.get_trial(trial._trial_id).intermediate_values
    for step, value in enumerate(curve, start=1):
        if step in stored:
            continue  # by the worker that was killed
        began = time.time()
        time.sleep(seconds / EVALUATIONS)
        log.note(SLEPT, began, time.time())
        beat()
        if seconds == 0:
            continue
        report(study, trial, step, value, me, lambda: None)
        if step == len(curve) or not policy.may_stop_at(step, EVALUATIONS):
            continue
        if not policy.should_continue(study, study._storage.get_trial(trial._trial_id), EVALUATIONS):
            state, curve = TrialState.PRUNED, curve[:step]
            break
    finish(study, trial, state, max(curve), me)


def _time_turns(log: Log) -> None:
    """Note for every turn of this process how long it waited for the lock, and how long it held it."""
    exclusive = search.database.study_lock.exclusive

    @contextmanager
    def timed(storage: ReconnectingStorage, name: str) -> Iterator[None]:
        began = time.perf_counter()
        with exclusive(storage, name):
            taken = time.perf_counter()
            yield
            held = time.perf_counter() - taken
        log.note(LOCK_WAIT, taken - began)
        log.note(LOCK_HELD, held)

    search.database.study_lock.exclusive = timed


class Crew:
    """The workers: processes of one context, each with a log of its own."""

    def __init__(self, url: str, home: Path, n_trials: int, seconds: float) -> None:
        self.url, self.home, self.n_trials, self.seconds = url, home, n_trials, seconds
        self.context = get_context("forkserver")  # forked from a process that has loaded the modules, and nothing else
        self.context.set_forkserver_preload(["__main__"])
        self.workers: list[BaseProcess] = []
        self.started = 0

    def start(self) -> None:
        """One more worker."""
        log = self.home / f"{self.started}.log"
        order = Order(self.url, f"cpu.{self.started}", log, self.n_trials, self.seconds, self.home / "stop")
        self.started += 1
        worker = self.context.Process(target=work, args=(order,))
        worker.start()
        self.workers.append(worker)

    def wait_until_all_have_begun(self) -> None:
        """Until every worker has taken a trial; asserts that some are alive."""
        while sum(any(line[0] == BEGUN for line in each) for each in self.lines().values()) < len(self.workers):
            assert any(worker.is_alive() for worker in self.workers), "all have ended before all have begun"
            time.sleep(0.5)

    def stop(self) -> None:
        """Let the workers end after their trial, and wait for that."""
        (self.home / "stop").touch()
        for worker in self.workers:
            worker.join()

    def lines(self) -> dict[str, list[list[Any]]]:
        """Slot -> its measurements."""
        found = {}
        for path in sorted(self.home.glob("*.log")):
            lines = path.read_text(encoding="utf-8").splitlines()
            found[path.stem] = [json.loads(line) for line in lines if line.endswith("]")]
        return found


class Census(threading.Thread):
    """Counts the connections of the server's clients, twice a second."""

    def __init__(self, clients: Callable[[], list[str]]) -> None:
        """``clients``: asks the server for the names of its clients; raises what its driver raises while it is away."""
        super().__init__(daemon=True)
        self.clients, self.counts, self.names = clients, [0], set[str]()
        self.start()

    def run(self) -> None:
        """Until the process ends."""
        while True:
            with suppress(Exception):  # the server is away
                found = self.clients()
                self.counts.append(len(found))
                self.names.update(found)
            time.sleep(0.5)


def percentiles(seconds: list[float]) -> str:
    """Median and 95th percentile in milliseconds, and the largest."""
    if not seconds:
        return "- | - | -"
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)))]
    return f"{statistics.median(ordered) * 1e3:.0f} | {high * 1e3:.0f} | {ordered[-1] * 1e3:.0f}"


def times(lines: Mapping[str, list[list[Any]]], kind: str) -> list[float]:
    """All measurements of this kind."""
    return [line[1] for each in lines.values() for line in each if line[0] == kind]


def _since(before: Mapping[str, list[list[Any]]], now: Mapping[str, list[list[Any]]]) -> dict[str, list[list[Any]]]:
    """The measurements that have come since."""
    return {slot: each[len(before.get(slot, ())) :] for slot, each in now.items()}


def moments(lines: Mapping[str, list[list[Any]]], kind: str) -> list[float]:
    """When trials began or ended."""
    return [line[2] for each in lines.values() for line in each if line[0] == kind]


@dataclass(frozen=True)
class Serving:
    """A server with default settings, and a user's own database on it, without special rights."""

    server: Any
    """Of tests/helpers: it has a process, a folder with its log, and can be started again."""
    url: str
    clients: Callable[[], list[str]]
    """The names of its clients but for this one."""
    refusals: tuple[str, ...]
    """What it writes to its log when it refuses a connection because it has too many."""


@contextmanager
def serving(mariadb: bool = False) -> Iterator[Serving]:
    """A fresh server of PostgreSQL, or of MariaDB."""
    sys.path.append(str(Path(__file__).parents[1]))
    with _mariadb() if mariadb else _postgres() as found:
        yield found


@contextmanager
def _postgres() -> Iterator[Serving]:
    from tests.helpers.postgres import server

    clients = (
        "SELECT application_name FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()"
    )
    with server(options=()) as found:

        def execute(*statements: str) -> list[tuple[Any, ...]]:
            whose = {"host": str(found.folder), "user": "postgres", "dbname": "postgres"}
            with psycopg.connect(**whose, autocommit=True) as connection:
                cursors = [connection.execute(statement) for statement in statements]
                return cursors[-1].fetchall() if cursors[-1].description else []

        execute("CREATE ROLE team LOGIN", "CREATE DATABASE team OWNER team")
        url = f"postgresql+psycopg://team@/team?host={found.folder}"
        refusals = ("connection slots are reserved", "too many clients")
        yield Serving(found, url, lambda: [name for (name,) in execute(clients)], refusals)


@contextmanager
def _mariadb() -> Iterator[Serving]:
    from tests.helpers.database.mariadb import server

    clients = "SELECT user FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'team'"
    with server() as found:
        found.execute("CREATE USER team@localhost", "GRANT ALL ON studies.* TO team@localhost")
        refusals = ("Too many connections",)
        yield Serving(found, found.url("team"), lambda: [name for (name,) in found.execute(clients)], refusals)


def make_study(url: str, sampler: str, num_stored: int = 0) -> optuna.Study:
    """The study, with so many finished trials of its search."""
    stored = document(sampler)
    study = create_study(open_storage(url, create=True), NAME, {KEY: stored.to_json()})
    policy, rng = Policy(stored.study, 0), random.Random(0)
    for number in range(num_stored):
        params = {**policy.baseline, "drop_rate": [0.0, 0.3, 0.7][number % 3]}
        params |= {"lr": 10 ** rng.uniform(-4, -2), "weight_decay": 10 ** rng.uniform(-4, 0)}
        curve = dict(enumerate(curve_of(params), start=1))
        study.add_trial(
            create_trial(
                value=max(curve.values()),
                params=params,
                distributions=policy.distributions,
                intermediate_values=curve,
                user_attrs={f"fact {i}": 0.5 for i in range(15)},
            )
        )
    return study


def asks(asked: argparse.Namespace) -> None:
    """Trials per second, and the turns' times, with more and more workers."""
    print(f"{asked.stored} stored trials, sampler {asked.sampler}, {asked.for_seconds:.0f} s each, times in ms")
    print(
        "| workers | trials/s | turns/s | wait: median | 95 % | most | held: median | 95 % | most | most connections |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for workers in asked.workers:
        with serving(asked.mariadb) as found, tempfile.TemporaryDirectory() as home:
            make_study(found.url, asked.sampler, asked.stored)
            census = Census(found.clients)
            crew = Crew(found.url, Path(home), 10**6, 0.0)
            for _ in range(workers):
                crew.start()
            crew.wait_until_all_have_begun()
            before, began = crew.lines(), time.time()
            time.sleep(asked.for_seconds)
            seconds, lines = time.time() - began, _since(before, crew.lines())
            crew.stop()
            rate = sum(moment >= began for moment in moments(lines, ENDED)) / seconds
            held = times(lines, LOCK_HELD)
            turns = len(held) / seconds
            took = f"{percentiles(times(lines, LOCK_WAIT))} | {percentiles(held)}"
            print(f"| {workers} | {rate:.1f} | {turns:.1f} | {took} | {max(census.counts)} |", flush=True)


def server_seconds(server: int) -> float:
    """CPU seconds of a server, by its pid, and of its processes: those that live, to the microsecond, and those that
    have ended."""
    fields = _stat(f"/proc/{server}/stat")
    total = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(_stat(f"{path}/stat")[1]) == server:
                total += int((path / "schedstat").read_text().split()[0]) / 1e9
    return total


def _stat(path: str) -> list[str]:
    """The fields after the name, from the state on."""
    return Path(path).read_text(encoding="utf-8").rpartition(")")[2].split()


def cost(asked: argparse.Namespace) -> None:
    """The table of one worker's calls."""
    with serving(asked.mariadb) as found:
        make_study(found.url, asked.sampler, asked.stored)
        storage = open_storage(found.url, create=False, waits=True, slot="cpu.0")
        study = load_study(storage, NAME)
        stored, me, rng, steps = read_stored(study), describe_myself("cpu.0"), random.Random(0), itertools.count(4)
        policy, limits = Policy(stored.study, stored.seed), StoppingCriteria(10**6)
        running: list[Trial] = []

        def ask(limits: StoppingCriteria = limits) -> None:
            trial = next_trial(study, policy, limits, me)
            running.extend([] if trial is None else [trial])

        def score() -> None:
            report(study, running[0], next(steps), rng.random(), me, lambda: None)

        for _ in range(asked.running):
            ask()
            for step in range(1, 4):
                report(study, running[-1], step, rng.random(), me, lambda: None)
        print(f"{asked.stored} stored trials, {asked.running} running, sampler {asked.sampler}")
        print("| call | CPU of the worker, ms | of the server, ms |\n|---|---|---|")
        server = found.server.process
        calls: dict[str, Callable[[], Any]] = {
            "read the trials": lambda: study.get_trials(deepcopy=False),
            "report": score,
            "report on a new connection": lambda: (storage.engine.dispose(), score()),
            "ask": ask,
            "ask when all has begun": lambda: ask(StoppingCriteria(1)),
            "end": lambda: finish(study, running.pop(), TrialState.COMPLETE, rng.random(), me),
        }
        for name, call in calls.items():
            call()
            mine, theirs = time.process_time(), server_seconds(server.pid)
            for _ in range(asked.times):
                call()
            mine, theirs = time.process_time() - mine, server_seconds(server.pid) - theirs
            print(f"| {name} | {mine / asked.times * 1e3:.1f} | {theirs / asked.times * 1e3:.1f} |", flush=True)


def exact(asked: argparse.Namespace) -> None:
    """The storm, what is left of it, and how busy the workers were."""
    workers = asked.workers[0]
    with serving(asked.mariadb) as found, tempfile.TemporaryDirectory() as home:
        study, server = make_study(found.url, asked.sampler), found.server
        census = Census(found.clients)
        crew = Crew(found.url, Path(home), asked.trials, asked.seconds)
        rng, began = random.Random(asked.seed), time.time()
        for _ in range(workers):
            crew.start()
        expected = asked.trials * asked.seconds / workers
        due = sorted(rng.uniform(0.1, 0.8) * expected for _ in range(asked.kills))
        restart = math.inf if asked.no_restart else 0.5 * expected
        crew.wait_until_all_have_begun()
        begun = time.time()
        killed: set[str] = set()
        while any(worker.is_alive() for worker in crew.workers):
            time.sleep(0.2)
            now = time.time() - begun
            if now >= restart:
                restart = math.inf
                os.kill(server.process.pid, signal.SIGKILL)
                server.process.wait()
                time.sleep(2)
                server.start()
            if due and now >= due[0]:
                due.pop(0)
                alive = [i for i, worker in enumerate(crew.workers) if worker.is_alive()]
                number = rng.choice(alive)
                os.kill(crew.workers[number].pid or 0, signal.SIGKILL)
                killed.add(str(number))
                crew.start()
        wall = time.time() - began
        _tell(study, crew, asked, killed, wall)
        log = (server.folder / "log").read_text(errors="replace")
        refused = sum(log.count(text) for text in found.refusals)
        print(f"connections: most {max(census.counts)}, {refused} refused; as {min(census.names, default='')!r}")


def _tell(study: optuna.Study, crew: Crew, asked: argparse.Namespace, killed: set[str], wall: float) -> None:
    """Print what came of it, and check it."""
    trials, lines = study.get_trials(deepcopy=False), crew.lines()
    states = Counter(trial.state.name for trial in trials)
    ended = Counter(int(line[1]) for each in lines.values() for line in each if line[0] == ENDED)
    twice = [number for number, times_ in ended.items() if times_ > 1]
    failed = [worker.exitcode for worker in crew.workers if worker.exitcode not in (0, -signal.SIGKILL)]
    wrong = [trial.number for trial in trials if not _is_whole(trial)]
    dealt = Counter(
        (trial.user_attrs[ROUND], trial.user_attrs[PLACE])
        for trial in trials
        if trial.state in FINISHED and PLACE in trial.user_attrs
    )
    print(f"{asked.workers[0]} workers, {asked.seconds:g} s a trial, sampler {asked.sampler}, {len(killed)} killed")
    print(f"{wall:.0f} s; states {dict(states)}; ended twice {twice}; curves not whole {wrong}; exits {failed}")
    print(f"{len(dealt)} trainings of rounds, {sum(count > 1 for count in dealt.values())} dealt twice")
    _tell_busy(lines, killed, asked.workers[0])
    print("ms: median | 95 % | max")
    print(f"wait for the lock {percentiles(times(lines, LOCK_WAIT))}; held {percentiles(times(lines, LOCK_HELD))}")
    print(f"ask {percentiles(times(lines, ASKED))}", flush=True)
    assert count_finished(trials) == asked.trials == sum(states.values())
    assert not twice
    assert not wrong
    assert not failed
    assert max(dealt.values()) == 1


def _is_whole(trial: FrozenTrial) -> bool:
    """Whether a finished trial has the scores of its curve, each step once, and the value of the best."""
    curve = curve_of(trial.params)
    scores = trial.intermediate_values
    wanted = dict(enumerate(curve[: len(scores)], start=1))
    is_long = len(scores) == len(curve) or trial.state == TrialState.PRUNED
    return trial.state in FINISHED and scores == wanted and is_long and trial.value == max(scores.values())


def _tell_busy(lines: Mapping[str, list[list[Any]]], killed: set[str], workers: int) -> None:
    """How much of their time the workers slept for their trainings."""
    mine = {slot: each for slot, each in lines.items() if slot not in killed and int(slot) < workers}
    begun = [[line[2] for line in each if line[0] == BEGUN] for each in mine.values()]
    start, stop = max(each[0] for each in begun), max(max(each) for each in begun)
    if stop <= start:
        print("busy: too few trials for each to begin a second one")
        return
    slept = 0.0
    for each in mine.values():
        for kind, *values in each:
            if kind == SLEPT:
                slept += max(0.0, min(values[1], stop) - max(values[0], start))
    print(f"busy {slept / (stop - start) / len(mine):.1%} of {stop - start:.0f} s, from all begun to the last begun")


def main() -> None:
    """The one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["exact", "asks", "cost"])
    parser.add_argument("--workers", type=int, nargs="+", default=[8])
    parser.add_argument("--trials", type=int, default=64, help="exact: finished trials to reach")
    parser.add_argument("--seconds", type=float, default=20.0, help="exact: of a trial that is not stopped early")
    parser.add_argument("--kills", type=int, default=0, help="exact: workers that are killed")
    parser.add_argument("--no-restart", action="store_true", help="exact: the server is not killed")
    parser.add_argument("--stored", type=int, default=0, help="asks, cost: trials that the study has")
    parser.add_argument("--running", type=int, default=100, help="cost: trials that run")
    parser.add_argument("--times", type=int, default=30, help="cost: how often each call is made")
    parser.add_argument("--for-seconds", type=float, default=20.0, help="asks: how long the workers ask")
    parser.add_argument("--mariadb", action="store_true", help="on MariaDB instead of PostgreSQL")
    parser.add_argument("--sampler", default="tpe", help="tpe or random; gp and auto load torch")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    {"asks": asks, "cost": cost, "exact": exact}[asked.what](asked)


if __name__ == "__main__":
    main()
