"""What is parallelism worth? Replays studies with many workers in simulated time, at equal epochs, on LCBench.

    python benchmarks/parallel.py --lcbench DIR --limit trials --workers 1 8 32 100 --budgets 50 200 [-o OUTCOMES]

The players are those of policy.py. So many workers train at once; each epoch takes as long as the surrogate says. A
proposal sees the scores and ends that have come by then, and of the trials that others train what the service shows of
them. ``--limit trials``: a budget of 50 is 50 trials. ``--limit epochs``: it is the epochs of 50 trials at the cost
that the policy expects of them (phases.PRUNED_COST); trials begin as long as those that have begun are expected to
leave some of it. The table gives what was spent in the end. Random search has no pruning, and its regret is that
expected of as many full trainings as the epochs that were spent.
"""

import argparse
import heapq
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState
from policy import CONTENDERS, Suite, mean_and_error
from replay import Player
from suites import LCBENCH_EPOCHS, LcbenchTask, lcbench_tasks

from search.policy.phases import PRUNED_COST, cost_of_search, evaluations_begun

CLOCK = (0.5, 1, 2, 4, 8, 16, 32, 64)
"""Times at which the regret is shown, in full trainings of the baseline."""


@dataclass(frozen=True)
class Found:
    """What one study came to."""

    trials: int
    epochs: int
    """Of all its trials."""
    seconds: float
    """Simulated, from its begin to the end of its last trial, as a multiple of a full training of the baseline."""
    bests: list[tuple[float, int, float]]
    """(seconds as above, epochs of all trials by then, regret) whenever a complete trial was the best so far."""

    @property
    def regret(self) -> float:
        """(Best known - best found) / scale."""
        return self.bests[-1][2]

    def regret_at(self, seconds: float) -> float:
        """By this time; NaN while none is complete."""
        return next((regret for moment, _, regret in reversed(self.bests) if moment <= seconds), math.nan)


class Simulation:
    """Workers that train at once, in simulated time."""

    def __init__(self, task: LcbenchTask, player: Player, budget: int, limit: str) -> None:
        self.task, self.player, self.budget, self.limit = task, player, budget, limit
        self.clock, self.epochs = 0.0, 0
        self.due: list[tuple[float, int, int]] = []
        """(When, trial, epoch) of the next epoch's end of every worker."""
        self.unit = sum(task.seconds(task.baseline))
        self.seconds_of: dict[int, list[float]] = {}
        self.bests: list[tuple[float, int, float]] = []

    def run(self, workers: int) -> Found:
        """The study."""
        for _ in range(workers):
            self._begin()
        while self.due:
            self.clock, number, epoch = heapq.heappop(self.due)
            if self._continues(number, epoch):
                self._wait(number, epoch + 1)
            else:
                self._begin()
        return Found(len(self._trials()), self.epochs, self.clock / self.unit, self.bests)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return self.player.study.get_trials(deepcopy=False)

    def _begin(self) -> None:
        """A trial, if the budget leaves room for one."""
        if self._is_spent():
            return
        number = self.player.ask()
        self.seconds_of[number] = self.task.seconds(self._trials()[number].params)
        self._wait(number, 1)

    def _is_spent(self) -> bool:
        trials = self._trials()
        if self.limit == "trials":
            return len(trials) >= self.budget
        cost = cost_of_search(trials, LCBENCH_EPOCHS, PRUNED_COST)
        return evaluations_begun(trials, LCBENCH_EPOCHS, cost) >= self.budget * PRUNED_COST * LCBENCH_EPOCHS

    def _wait(self, number: int, epoch: int) -> None:
        heapq.heappush(self.due, (self.clock + self.seconds_of[number][epoch - 1], number, epoch))

    def _continues(self, number: int, epoch: int) -> bool:
        """Report the epoch's score, and end the trial when it is over."""
        trial = self._trials()[number]
        curve = self.task.curve(trial.params)
        self.player.study._storage.set_trial_intermediate_value(trial._trial_id, epoch, curve[epoch])
        self.epochs += 1
        trial = self._trials()[number]
        if epoch < LCBENCH_EPOCHS and self.player.should_continue(trial):
            return True
        best = max(trial.intermediate_values.values())
        is_complete = epoch == LCBENCH_EPOCHS
        self.player.tell(trial, TrialState.COMPLETE if is_complete else TrialState.PRUNED, best)
        regret = (self.task.best - best) / self.task.scale
        if is_complete and (not self.bests or regret < self.bests[-1][2]):
            self.bests.append((self.clock / self.unit, self.epochs, regret))
        return False


def random_regret(task: LcbenchTask, epochs: float) -> float:
    """The regret expected of as many full trainings at random points as the epochs allow, drawn from the task's sample
    without replacement; between two whole numbers in proportion."""
    value_N = np.sort(task.value_N)[::-1]
    trainings = epochs / LCBENCH_EPOCHS

    def of(num: int) -> float:
        none_N = np.cumprod(np.r_[1.0, [1 - num / (len(value_N) - i) for i in range(len(value_N) - num)]])
        best_N = -np.diff(np.r_[none_N, 0.0])[: len(value_N)]
        return float((task.best - best_N @ value_N[: len(best_N)]) / task.scale)

    low = max(1, math.floor(trainings))
    share = max(0.0, trainings - low)
    return (1 - share) * of(low) + share * of(low + 1)


Key = tuple[str, str, int, int, str, int]
"""(Policy, limit, budget, workers, task, seed)."""


class Outcomes:
    """What every study came to; stored in a file if one is given."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.known = file, dict[Key, Found]()
        for line in file.read_text().splitlines() if file and file.exists() else ():
            policy, limit, budget, workers, task, seed, values = json.loads(line)
            bests = [(moment, epochs, regret) for moment, epochs, regret in values.pop("bests")]
            self.known[policy, limit, budget, workers, task, seed] = Found(**values, bests=bests)

    def of(self, policy: str, limit: str, budget: int, workers: int, suite: Suite) -> dict[tuple[str, int], Found]:
        """(Task, seed) -> what came of it; replayed if it is not known yet."""
        found = {}
        for seed in range(suite.num_seeds):
            for task in suite.tasks:
                key = (policy, limit, budget, workers, task.name, seed)
                if key not in self.known:
                    self._keep(key, _replayed(key, suite, task))
                found[task.name, seed] = self.known[key]
        return found

    def _keep(self, key: Key, found: Found) -> None:
        self.known[key] = found
        if self.file:
            with self.file.open("a") as file:
                file.write(json.dumps([*key, asdict(found)]) + "\n")


def _replayed(key: Key, suite: Suite, task: LcbenchTask) -> Found:
    policy, limit, budget, workers, _, seed = key
    contender = CONTENDERS[policy]
    warm = suite.warm(task, seed)[: contender.num_warm] if contender.num_warm else []
    return Simulation(task, contender.make(task, seed, warm), budget, limit).run(workers)


HEAD = """\
| policy | budget | workers | n | trials | epochs | wall | regret ± SE | minus one worker | minus random search |
|---|---|---|---|---|---|---|---|---|---|"""


def row(policy: str, budget: int, workers: int, found: dict[tuple[str, int], Found], alone: dict, tasks: dict) -> str:
    """One line of the table."""

    def mean(of: Callable[[Found], float]) -> float:
        return float(np.mean([of(each) for each in found.values()]))

    regret = {key: each.regret for key, each in found.items()}
    paired = {key: each.regret - alone[key].regret for key, each in found.items() if key in alone}
    random = {key: each.regret - random_regret(tasks[key[0]], each.epochs) for key, each in found.items()}
    cells = [
        policy,
        str(budget),
        str(workers),
        str(len(found)),
        f"{mean(lambda each: each.trials):.0f}",
        f"{mean(lambda each: each.epochs):.0f}",
        f"{mean(lambda each: each.seconds):.1f}",
        mean_and_error(regret),
        mean_and_error(paired) if workers > 1 and paired else "",
        mean_and_error(random),
    ]
    return f"| {' | '.join(cells)} |"


def clock_row(policy: str, budget: int, workers: int, found: Sequence[Found]) -> str:
    """Mean regret at the times of CLOCK, over the studies that have a complete trial by then; a dash if half have."""
    cells = []
    for moment in CLOCK:
        regrets = [each.regret_at(moment) for each in found]
        known = [regret for regret in regrets if not math.isnan(regret)]
        cells.append(f"{np.mean(known):.3f}" if len(known) == len(regrets) else "-")
    return f"| {policy} | {budget} | {workers} | {' | '.join(cells)} |"


def main() -> None:
    """Print a row as soon as it is known; at the end the regret by the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lcbench", type=Path, required=True, help="folder of the surrogate")
    parser.add_argument("--tasks", nargs="+", default=[], help="by default all not kept for acceptance")
    names = ["service, cold", "service with TPE, cold", "service at random points, cold"]
    parser.add_argument("--policies", nargs="+", default=names, choices=list(CONTENDERS), metavar="POLICY")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32, 100])
    parser.add_argument("--limit", choices=["trials", "epochs"], default="trials")
    parser.add_argument("--budgets", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="file of outcomes; a second run continues it")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    tasks = lcbench_tasks(options.lcbench, options.tasks)
    suite = Suite("lcbench", tasks, tasks, options.seeds)
    outcomes, clocks = Outcomes(options.out), []
    print(HEAD)
    for budget in options.budgets:
        for policy in options.policies:
            alone: dict[tuple[str, int], Found] = {}
            for workers in options.workers:
                found = outcomes.of(policy, options.limit, budget, workers, suite)
                alone = alone or found
                print(row(policy, budget, workers, found, alone, {task.name: task for task in tasks}), flush=True)
                clocks.append(clock_row(policy, budget, workers, list(found.values())))
    print(f"\n| policy | budget | workers | {' | '.join(f'{moment:g}' for moment in CLOCK)} |")
    print(f"|{'---|' * (3 + len(CLOCK))}", *clocks, sep="\n")


if __name__ == "__main__":
    main()
