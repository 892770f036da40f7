"""A study of many trials: what a worker's calls, a command's overview and the report take, and a worker's memory.

    python benchmarks/many_trials.py --stored 10000
    python benchmarks/many_trials.py --stored 10000 --in-rounds 5000 --on sqlite postgres mariadb

The trials have the attributes of real ones, and no files. A worker that has just loaded the study takes trials, reports
one score of each and ends it: "ask" is all that search.worker.worker does between two trainings, the check for a reason
to give up and the look for rounds that are due included; "report" the score and the pruner's verdict on it.
Milliseconds are median, and most, of --times calls on the clock, then the median of this process's CPU time;
statements are SQL statements of a call. Each part runs in a process of its own, on an SQLite file and on fresh servers
with their default settings. Memory is that of the process (VmRSS) after its calls, above what it had when it had
imported everything.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from cluster import EVALUATIONS, NAME, curve_of, document, serving
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import Trial, TrialState
from sqlalchemy import insert

from maskcls.tasks.mask import MASK_TASK
from search.database.connect import create_study, default_url, load_study, open_storage, open_to_read, set_attributes
from search.database.optuna_internals import read_trial, study_id
from search.findings.notes import show_study
from search.findings.status import overview_of_all, status_of
from search.page.build import make_report
from search.page.data import ReportOptions, gather
from search.policy.policy import Policy
from search.policy.rounds import Planned, RoundPlan
from search.policy.stopping import StoppingCriteria
from search.storage.failures import reason_to_give_up
from search.storage.looks import look_if_due
from search.storage.outcomes import finish, report
from search.storage.predictions import predictions_of
from search.storage.queue import next_trial
from search.study.attributes import JUDGE_ROUND, LEVEL, PLACE, ROLE, ROUND, ROUND_PLAN, SEED, WORKER
from search.study.record import KEY, Stored, read_stored
from search.system.clock import ENDED, RUN, run_now
from search.system.processes import describe_myself
from search.terminal.status import show_status

SQLITE, POSTGRES, MARIADB = DATABASES = ("sqlite", "postgres", "mariadb")

BATCH = 500
"""Trials that are stored at once."""


def facts_of(stored: Stored, number: int, params: dict[str, Any], score: float, made: int) -> dict[str, Any]:
    """The attributes of a finished trial, as search.worker.objective stores them."""
    config = json.loads(stored.config(params).model_dump_json())
    origin = {"made_by": "search.run", "study": NAME, "study_id": "0" * 32, "trial": number, "data": "synthetic"}
    origin |= {"split": "0" * 16, "weights_option": "auto", "weights": {"source": "scratch"}, "revision": 3}
    scores = dict.fromkeys(("f1_mask", "f1_gender", "f1_age", "accuracy", "loss", "best_accuracy", "best_loss"), score)
    return {
        **scores,
        **{"best_evaluation": made, "evaluations": made, "evaluations_planned": EVALUATIONS, "seconds": 61.7},
        **{"photos_per_second": 412.3, "peak_gib": 1.372, "split": "0" * 16, "device": "NVIDIA H100 80GB HBM3, cuda:0"},
        **{"f1_per_class": [round(random.random(), 6) for _ in range(MASK_TASK.space.num_classes)]},
        **{"seed": 0, "config": config, "origin": origin, "weights_digest": f"{number:064x}"},
        **{WORKER: describe_myself("cuda:0.0").to_json()},
    }


def fill(url: str, num: int, in_rounds: int) -> None:
    """The study with so many finished trials, the last ``in_rounds`` of them in rounds of all levels."""
    stored = document("auto")
    study = create_study(open_storage(url, create=True), NAME, {KEY: stored.to_json()})
    policy, rng = Policy(stored.study, 0), random.Random(0)
    arms, trials = policy.arms, []
    begun = datetime.now() - timedelta(minutes=num)
    for number in range(num):
        params = {**policy.baseline, "drop_rate": [0.0, 0.3, 0.7][number % 3]}
        params |= {"lr": 10 ** rng.uniform(-4, -2), "weight_decay": 10 ** rng.uniform(-4, 0)}
        facts: dict[str, Any] = {}
        place, since = number % len(arms), number - (num - in_rounds)
        if number < len(arms) or since >= 0:
            round_ = 0 if number < len(arms) else 1 + since // len(arms)
            place = place if round_ == 0 else since % len(arms)
            params = {**policy.baseline, "drop_rate": [0.0, 0.3, 0.7][place], "lr": 1e-3 * (1 + round_ % 7)}
            facts = {ROLE: ROUND, ROUND: round_, PLACE: place, LEVEL: arms[place].name, JUDGE_ROUND: round_ % 5}
            facts |= {SEED: round_} if round_ else {}
            if round_ and place == 0:
                planned = tuple(Planned(arm.name, params, round_) for arm in arms)
                facts[ROUND_PLAN] = RoundPlan(round_, round_ % 5, planned).to_json()
        curve = curve_of(params)
        stopped = not facts and rng.random() < 0.6
        curve = curve[: 2 if stopped else None]
        facts |= facts_of(stored, number, params, max(curve), len(curve))
        trials.append((number, stopped, begun + timedelta(minutes=number), params, curve, facts))
    engine = sqlalchemy.create_engine(url)
    for first in range(0, num, BATCH):
        with engine.begin() as connection:
            _store(connection, study_id(study), policy, trials[first : first + BATCH])
    engine.dispose()
    show_study(study, stored)


def _store(connection: sqlalchemy.Connection, study: int, policy: Policy, trials: list[Any]) -> None:
    """Store these trials, a statement for each table."""
    domains = {name: distribution_to_json(domain) for name, domain in policy.distributions.items()}
    rows: dict[type, list[dict[str, Any]]] = {}

    def add(model: type, **values: Any) -> None:
        rows.setdefault(model, []).append(values)

    for number, stopped, began, params, curve, facts in trials:
        trial, ended = number + 1, began + timedelta(minutes=1)
        state = TrialState.PRUNED if stopped else TrialState.COMPLETE
        add(
            models.TrialModel,
            **{"trial_id": trial, "study_id": study, "number": number, "state": state},
            **{"datetime_start": began, "datetime_complete": ended},
        )
        finite = {"value_type": models.TrialValueModel.TrialValueType.FINITE}
        add(models.TrialValueModel, trial_id=trial, objective=0, value=max(curve), **finite)
        for name, value in params.items():
            internal = policy.distributions[name].to_internal_repr(value)
            add(
                models.TrialParamModel,
                trial_id=trial,
                param_name=name,
                param_value=internal,
                distribution_json=domains[name],
            )
        finite = {"intermediate_value_type": models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE}
        for step, value in enumerate(curve, start=1):
            add(models.TrialIntermediateValueModel, trial_id=trial, step=step, intermediate_value=value, **finite)
        for key, value in facts.items():
            add(models.TrialUserAttributeModel, trial_id=trial, key=key, value_json=json.dumps(value))
        times = {RUN: run_now("0" * 32), ENDED: ended.timestamp(), "mask-search:token": f"{number:032x}"}
        for key, value in times.items():
            add(models.TrialSystemAttributeModel, trial_id=trial, key=key, value_json=json.dumps(value))
        add(models.TrialHeartbeatModel, trial_id=trial, heartbeat=began)
    for model, values in rows.items():
        connection.execute(insert(model), values)
    if connection.dialect.name == "postgresql":  # ids were given, not drawn
        connection.execute(sqlalchemy.text("SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))"))


class Calls:
    """Calls of one kind: how long each took, and how many SQL statements it made."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.statements, self.taken = 0, dict[str, list[tuple[float, float, int]]]()
        sqlalchemy.event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, *_: Any) -> None:
        self.statements += 1

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Measure what the block does."""
        began, spent, before = time.perf_counter(), time.process_time(), self.statements
        yield
        took = time.perf_counter() - began, time.process_time() - spent, self.statements - before
        self.taken.setdefault(what, []).append(took)

    def measured(self) -> dict[str, str]:
        """What each kind took."""
        found = {}
        for what, each in self.taken.items():
            clock, cpu, statements = (sorted(column) for column in zip(*each, strict=True))
            found[what] = (
                f"{statistics.median(clock) * 1e3:.0f} ms (most {clock[-1] * 1e3:.0f}), CPU"
                f" {statistics.median(cpu) * 1e3:.0f}, {statistics.median(statements):.0f} statements"
            )
        return found


def measure_worker(url: str, runs: Path, times: int, limit: int) -> dict[str, str]:
    """Take, report and end trials."""
    before = memory()
    storage = open_storage(url, create=False)
    study, calls = load_study(storage, NAME), Calls(storage.engine)
    stored, me = read_stored(study), describe_myself("cpu.0")
    policy, limits = Policy(stored.study, stored.seed), StoppingCriteria(limit)
    shelf = predictions_of(study, stored, runs / NAME)
    with calls.timed("load all trials"):
        study.get_trials(deepcopy=False)
    loaded = memory()
    for _ in range(times):
        with calls.timed("ask"):
            assert not reason_to_give_up(study.get_trials(deepcopy=False), time.time())
            look_if_due(study, policy, limits, shelf, stored.study.matters)
            trial = next_trial(study, policy, limits, me)
        assert trial is not None
        with calls.timed("report"):
            report(study, trial, 2, 0.3, me, lambda: None)
            policy.should_continue(study, read_trial(study, trial), EVALUATIONS)
        with calls.timed("end"):
            _end(study, trial, stored, me)
    took = f"{loaded - before:.0f} MiB when loaded, {memory() - before:.0f} MiB in the end"
    return {**calls.measured(), "a worker's memory": took}


def _end(study: optuna.Study, trial: Trial, stored: Stored, me: Any) -> None:
    facts = facts_of(stored, trial.number, trial.params, 0.3, EVALUATIONS)
    del facts[WORKER]
    finish(study, trial, TrialState.COMPLETE, 0.3, me, lambda: set_attributes(study, trial, facts))


def measure_status(url: str) -> dict[str, str]:
    """What search.status does, for one study and for all."""
    before, calls = memory(), Watch()
    storage = open_to_read(url)
    calls.count(storage.engine)
    study = load_study(storage, NAME)
    show_status(status_of(study, read_stored(study)))
    of_one = f"{calls.shown()}, {memory() - before:.0f} MiB"
    storage, calls = open_to_read(url), Watch()
    calls.count(storage.engine)
    overview_of_all(storage)
    return {"search.status --study": of_one, "search.status": calls.shown()}


def measure_page(url: str, runs: Path) -> dict[str, str]:
    """What search.report does but for writing the files."""
    before, calls = memory(), Watch()
    storage = open_to_read(url)
    calls.count(storage.engine)
    material = gather(load_study(storage, NAME), ReportOptions(runs, photos=False))
    answer = calls.shown()
    make_report(material)
    return {"search.report": f"{calls.shown()}, {memory() - before:.0f} MiB", "of it the answer": answer}


class Watch:
    """The time since it was made, on the clock and of the CPU, and the statements of engines."""

    def __init__(self) -> None:
        self.began, self.spent, self.statements = time.perf_counter(), time.process_time(), 0

    def count(self, engine: sqlalchemy.Engine) -> None:
        """Count this engine's statements from now on."""
        sqlalchemy.event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, *_: Any) -> None:
        self.statements += 1

    def shown(self) -> str:
        """All three."""
        clock, cpu = time.perf_counter() - self.began, time.process_time() - self.spent
        return f"{clock * 1e3:.0f} ms, CPU {cpu * 1e3:.0f}, {self.statements} statements"


def memory() -> float:
    """The memory of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def alone(work: Callable[..., dict[str, str]], *arguments: object) -> dict[str, str]:
    """Do the work in a process of its own, which may print what it likes; what it has measured."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, work, *arguments))
    process.start()
    theirs.close()
    try:
        measured: dict[str, str] = ours.recv()
    except EOFError:
        sys.exit(f"{work.__name__} failed")
    process.join()
    return measured


def _send(connection: Connection, work: Callable[..., dict[str, str]], *arguments: object) -> None:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        measured = work(*arguments)
    connection.send(measured)


@contextmanager
def database(kind: str, runs: Path) -> Iterator[str]:
    """The URL of an empty database of this kind."""
    if kind == SQLITE:
        yield default_url(runs)
        return
    with serving(mariadb=kind == MARIADB) as served:
        yield served.url


def measure(kind: str, typed: argparse.Namespace) -> dict[str, str]:
    """Make the study in such a database, and measure."""
    with tempfile.TemporaryDirectory() as folder, database(kind, Path(folder)) as url:
        runs = Path(folder)
        fill(url, typed.stored, typed.in_rounds)
        limit = 3 * typed.stored if not typed.in_rounds else typed.stored + 1000
        parts: dict[str, tuple[Any, ...]] = {
            "worker": (measure_worker, url, runs, typed.times, limit),
            "status": (measure_status, url),
            "report": (measure_page, url, runs),
        }
        measured: dict[str, str] = {}
        for name in typed.only:
            measured |= alone(*parts[name])
            print(f"{kind}: {measured}", file=sys.stderr, flush=True)
        return measured


def main() -> None:
    """Measure each database, and show all in one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", type=int, default=10_000)
    parser.add_argument("--in-rounds", type=int, default=0, help="so many of them are trainings of rounds")
    parser.add_argument("--on", nargs="+", choices=DATABASES, default=[SQLITE, POSTGRES])
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument(
        "--only", nargs="+", choices=["worker", "status", "report"], default=["worker", "status", "report"]
    )
    typed = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = {kind: measure(kind, typed) for kind in typed.on}
    print(f"| {typed.stored} trials, {typed.in_rounds} in rounds | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for what in next(iter(columns.values())):
        print(f"| {what} | {' | '.join(measured[what] for measured in columns.values())} |")


if __name__ == "__main__":
    main()
