"""Replay search policies on recorded and surrogate learning curves: what they find, and what that costs.

    python benchmarks/policy.py --curves benchmarks/curves.jsonl --lcbench DIR --taskset FILE [-o OUTCOMES]

Three suites: ``ours``, learning curves of our own trainer, which decide; ``lcbench``, a surrogate of 34 tabular tasks,
ten of which are kept for acceptance; ``taskset``, real curves of six text models. In the last two a warm start learns
from studies of the other tasks. Every policy gets the same tasks, seeds and warm starts.
"""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState
from replay import NUM_TRIALS, MakePlayer, Outcome, Params, Service, Stock, Task, judge, replay
from suites import TableTask, lcbench_tasks, our_task, taskset_tasks

from search.policy.portfolio import warm_configurations
from search.policy.warm_starts import MAX_SHARE
from search.study.space import distributions
from search.study.study import Pruner, Sampler

NUM_WARM = int(MAX_SHARE * NUM_TRIALS)
EARLIER_SEED = 1000
"""Seed of the first earlier study; no replay has it."""


@dataclass(frozen=True)
class Contender:
    """A policy of the table."""

    make: MakePlayer
    num_warm: int = 0


def stock(make_pruner: Callable[[], BasePruner], num_warm: int = 0) -> Contender:
    """Optuna's TPE with one of its pruners."""
    return Contender(lambda task, seed, warm: Stock(task, seed, warm, make_pruner()), num_warm)


def service(num_warm: int = 0, **arguments: Any) -> Contender:
    """The service's policy, with arguments of replay.Service."""
    return Contender(lambda task, seed, warm: Service(task, seed, warm, **arguments), num_warm)


TPE, RANDOM = (Sampler(name) for name in ("tpe", "random"))
UNPRUNED = Pruner("none")

REFERENCE = "SuccessiveHalving(4, 2), 10 warm"

CONTENDERS: dict[str, Contender] = {
    REFERENCE: stock(lambda: SuccessiveHalvingPruner(4, 2), 10),
    "SuccessiveHalving(1, 3), 10 warm": stock(lambda: SuccessiveHalvingPruner(1, 3), 10),
    "TPE, no pruning": stock(NopPruner),
    "TPE + MedianPruner()": stock(MedianPruner),
    "TPE + Hyperband(1, 52, 3)": stock(lambda: HyperbandPruner(1, 52, 3)),
    "TPE + SuccessiveHalving(1, 3)": stock(lambda: SuccessiveHalvingPruner(1, 3)),
    "TPE + SuccessiveHalving(4, 2)": stock(lambda: SuccessiveHalvingPruner(4, 2)),
    "service at random points, cold": service(sampler=RANDOM),
    "service at random points, warm": service(NUM_WARM, sampler=RANDOM),
    "service with TPE, no pruning, cold": service(sampler=TPE, pruner=UNPRUNED),
    "service with TPE, no pruning, warm": service(NUM_WARM, sampler=TPE, pruner=UNPRUNED),
    "service with TPE, cold": service(sampler=TPE),
    "service with TPE, warm": service(NUM_WARM, sampler=TPE),
    "service, cold": service(),
    "service, warm": service(NUM_WARM),
}
"""``service`` alone is what search.run does by default."""


@dataclass(frozen=True, eq=False)
class Suite:
    """Tasks to replay, and those that a warm start learns from; a task never learns from itself."""

    name: str
    tasks: Sequence[Task]
    teachers: Sequence[Task]
    num_seeds: int

    @cache  # noqa: B019 - a suite lives as long as the process
    def earlier(self, teacher: int, seed: int) -> list[tuple[Params, float]]:
        """The finished trials of an earlier study: cold, with TPE, nothing pruned."""
        task = self.teachers[teacher]
        trials = replay(task, Service(task, EARLIER_SEED + seed, (), sampler=TPE, pruner=UNPRUNED))
        return [
            (trial.params, trial.value)
            for trial in trials
            if trial.state == TrialState.COMPLETE and trial.value is not None
        ]

    @cache  # noqa: B019
    def warm(self, task: Task, seed: int) -> Sequence[Params]:
        """The warm starts for a task, from the earlier studies of all other tasks."""
        others = [self.earlier(i, seed) for i, teacher in enumerate(self.teachers) if teacher.name != task.name]
        return warm_configurations(others, distributions(task.space), NUM_WARM) if others else _drawn(task, seed)


def _drawn(task: Task, seed: int) -> Sequence[Params]:
    """Four of a table's best twelve, as from a good earlier study: the warm starts of a suite with one task."""
    assert isinstance(task, TableTask)
    best_N = np.argsort(-np.nan_to_num(task.value_N, nan=-math.inf))[:12]
    return [task.params_N[i] for i in np.random.default_rng(seed).permutation(best_N)[:4]]


class Outcomes:
    """Outcome of every replay, by policy, suite, task and seed; stored in a file if one is given."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.known = file, dict[tuple[str, str, str, int], Outcome]()
        for line in file.read_text().splitlines() if file and file.exists() else ():
            *key, values = json.loads(line)
            self.known[key[0], key[1], key[2], key[3]] = Outcome(**values)

    def of(self, policy: str, suite: Suite) -> dict[tuple[str, int], Outcome]:
        """(Task, seed) -> outcome; replayed if it is not known yet."""
        contender, outcome_of = CONTENDERS[policy], {}
        for seed in range(suite.num_seeds):
            for task in suite.tasks:
                key = (policy, suite.name, task.name, seed)
                if key not in self.known:
                    warm = suite.warm(task, seed)[: contender.num_warm] if contender.num_warm else []
                    self._keep(key, judge(task, replay(task, contender.make(task, seed, warm))))
                outcome_of[task.name, seed] = self.known[key]
        return outcome_of

    def _keep(self, key: tuple[str, str, str, int], outcome: Outcome) -> None:
        self.known[key] = outcome
        if self.file:
            with self.file.open("a") as file:
                file.write(json.dumps([*key, asdict(outcome)]) + "\n")


def mean_and_error(value_by_key: Mapping[tuple[str, int], float]) -> str:
    """Mean with standard error over tasks, as seeds of a task are not independent; over seeds if there is only one."""
    tasks = sorted({task for task, _ in value_by_key})
    per_task = [[value for (task, _), value in value_by_key.items() if task == name] for name in tasks]
    means = [float(np.mean(values)) for values in per_task] if len(tasks) > 1 else per_task[0]
    error = f"{np.std(means, ddof=1) / math.sqrt(len(means)):.4f}" if len(means) > 1 else "?"
    return f"{np.mean(means):.4f} ± {error}"


def row(policy: str, suite: Suite, outcomes: Outcomes) -> str:
    """One line of the table."""
    own = outcomes.of(policy, suite)
    regret = {key: outcome.regret for key, outcome in own.items()}
    reference = outcomes.of(REFERENCE, suite)
    difference = {key: outcome.regret - reference[key].regret for key, outcome in own.items()}
    cells = [
        policy,
        suite.name,
        str(len(own)),
        mean_and_error(regret),
        mean_and_error(difference) if policy != REFERENCE else "",
        f"{np.mean([outcome.share for outcome in own.values()]):.1%}",
        f"{np.mean([outcome.lost > 0 for outcome in own.values()]):.0%}",
        f"{np.mean([outcome.lost for outcome in own.values()]):.4f}",
    ]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| policy | suite | n | regret ± SE | minus the reference | epochs | winner pruned | lost by it |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Print the table, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, help="curves of our own trainer, by record_curves.py")
    parser.add_argument("--lcbench", type=Path, help="folder of the surrogate")
    parser.add_argument("--taskset", type=Path, help="curves.npz")
    parser.add_argument("--tasks", nargs="+", default=[], help="LCBench tasks; by default all not kept for acceptance")
    parser.add_argument("--policies", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="POLICY")
    parser.add_argument("--seeds", type=int, default=3, help="replays of a task; ten times as many of our own curves")
    parser.add_argument("-o", "--out", type=Path, help="file of outcomes; a second run continues it")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    outcomes = Outcomes(options.out)
    print(HEAD)
    for suite in suites(options):
        for policy in options.policies:
            print(row(policy, suite, outcomes), flush=True)


def suites(options: argparse.Namespace) -> Iterator[Suite]:
    """The suites whose data is given; prints which are left out."""
    for name in ("curves", "lcbench", "taskset"):
        if getattr(options, name) is None:
            print(f"No --{name}: its suite is left out.", file=sys.stderr)
    if options.curves:
        ours = [our_task(options.curves)]
        yield Suite("ours", ours, ours, 10 * options.seeds)
    if options.lcbench:
        teachers = lcbench_tasks(options.lcbench)
        tasks = lcbench_tasks(options.lcbench, options.tasks) if options.tasks else teachers
        yield Suite("lcbench", tasks, teachers, options.seeds)
    if options.taskset:
        tables = taskset_tasks(options.taskset)
        yield Suite("taskset", tables, tables, options.seeds)


if __name__ == "__main__":
    main()
