"""How a study divides what it may spend: round 0, a search, and rounds that answer its question.

The search, round 0 included, gets SEARCH_SHARE of the epochs, and the rounds the rest. With four tenths fewer planted
differences of .05 were found (60 % of 300 and 66 % of 250, at equal cost) and no fewer verdicts were false. Without a
search the answer is about the baseline's own setting, and may be another one at the best (benchmarks/decisive.py).
A study that compares nothing divides them evenly, once its rounds have LEAST_OPEN_ROUNDS trainings: they choose among
what the search found, and a recipe that it missed costs more than a verdict on the baseline that is less sharp
(benchmarks/outcome.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.policy.rounds import FINALISTS, arms_of_round, size_of_round
from search.policy.stopping import StoppingCriteria, patience_used
from search.study.attributes import round_of

SEARCH_SHARE = 1 / 3
"""Share of the epochs for round 0 and the search."""

OPEN_SEARCH_SHARE = 1 / 2
"""The most of it in a study that compares nothing."""

LEAST_OPEN_ROUNDS = 2 * size_of_round(FINALISTS)
"""Trainings of rounds that such a study has before its search gets more than SEARCH_SHARE: fewer than two rounds would
promise the luck of the best finalist."""

PRUNED_COST, PRIOR_TRIALS = 0.45, 8
"""What a trial of the search costs on average under our pruner, in full trainings (benchmarks/policy.py), and how many
of a study's own trials that counts for."""

LEAST_SEARCH = 2
"""A search of fewer trials for each arm is left out: it would compare warm starts at single levels."""


@dataclass(frozen=True)
class Phases:
    """How many trials each phase has."""

    first: int
    """Trainings of round 0."""
    search: int
    rounds: int
    """Trainings of the later rounds."""
    cost: float
    """Full trainings that a trial of the search is expected to cost."""

    @property
    def trainings(self) -> float:
        """The whole cost, in full trainings."""
        return self.first + self.cost * self.search + self.rounds


def _search_of(share: float, left: int, arms: int, cost: float) -> int:
    """How many of the trials after round 0 are of the search, which has this share of the epochs together with it."""
    ratio = share / (1 - share)
    return max(0, round((ratio * left - arms) / (cost + ratio)))


def search_budget(trainings: float, compares: bool) -> float:
    """How many of so many full trainings round 0 and the search may cost. ``compares``: as in ``phases``."""
    budget = SEARCH_SHARE * trainings
    return budget if compares else min(OPEN_SEARCH_SHARE * trainings, max(budget, trainings - LEAST_OPEN_ROUNDS))


def phases(
    n_trials: int, arms: int, cost: float, compares: bool, tunes: bool = True, least: int = LEAST_SEARCH
) -> Phases:
    """The phases of a study of so many trials. ``compares``, ``tunes``: whether it has scientific hyperparameters, and
    others; ``least``: trials of a search for each arm, or there is none.

    A study that is too short for a search has none; without scientific hyperparameters, where the search finds what
    the rounds compare, it has no rounds.
    """
    if n_trials <= arms:
        return Phases(n_trials, 0, 0, cost)
    if not tunes:
        rounds = n_trials - arms if n_trials >= 2 * arms else 0
        return Phases(arms, n_trials - arms - rounds, rounds, cost)
    left = n_trials - arms
    search = _search_of(SEARCH_SHARE, left, arms, cost)
    if not compares:
        search = min(_search_of(OPEN_SEARCH_SHARE, left, arms, cost), max(search, left - LEAST_OPEN_ROUNDS))
    if search < least * arms:
        search = 0 if compares else left
    if left - search < max(2, arms):  # not even one round
        search = left
    return Phases(arms, search, left - search, cost)


def sizes_of_rounds(found: Phases, others: int) -> list[list[int]]:
    """Round 0 and the later rounds of these phases: how many trainings the reference and each other level has.

    All of the ``others`` stay open.
    """
    names = [str(number) for number in range(1 + others)]
    sizes, left = [[1] * (1 + others)], found.rounds
    while arms := arms_of_round(names[0], names[1:], left):
        sizes.append([arms.count(name) for name in names])
        left -= len(arms)
    return sizes


def searched(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that belong to no round and have not failed."""
    return [trial for trial in trials if round_of(trial) is None and trial.state != TrialState.FAIL]


def cost_of_search(trials: Sequence[FrozenTrial], planned: int, expected: float) -> float:
    """What a trial of this study's search costs, in full trainings; ``expected``: before any has ended."""
    ended = [trial for trial in searched(trials) if trial.state.is_finished() and trial.intermediate_values]
    made = sum(max(trial.intermediate_values) for trial in ended) / planned
    return (PRIOR_TRIALS * expected + made) / (PRIOR_TRIALS + len(ended))


def num_left(trials: Sequence[FrozenTrial], n_trials: int) -> int:
    """How many more trials may begin, when those that run or wait end well."""
    return n_trials - sum(trial.state != TrialState.FAIL for trial in trials)


def evaluations_begun(trials: Sequence[FrozenTrial], planned: int, cost: float) -> float:
    """Evaluations that all trials have made, or will have made when those that run or wait have ended."""
    total = 0.0
    for trial in trials:
        made = max(trial.intermediate_values, default=0)
        expected = planned if round_of(trial) is not None else cost * planned
        total += made if trial.state.is_finished() else max(made, expected)
    return total


def trainings_left(
    trials: Sequence[FrozenTrial], limits: StoppingCriteria, planned: int, per_epoch: int, cost: float
) -> int:
    """How many full trainings may still begin within the limits on trials, epochs and time."""
    left = num_left(trials, limits.n_trials)
    epochs = limits.epochs_in_all()
    if epochs is None:
        return left
    evaluations = epochs * per_epoch - evaluations_begun(trials, planned, cost)
    # a trial may begin as long as any of the epochs are left
    return min(left, math.ceil(evaluations / planned - 1e-9))


def is_patience_over(trials: Sequence[FrozenTrial], limits: StoppingCriteria) -> bool:
    """Whether --patience ends the search; the rounds follow, with their share of what was spent."""
    return limits.patience is not None and patience_used(trials) >= limits.patience


def n_trials_after(search: int, arms: int, cost: float, compares: bool) -> int:
    """How many trials a study has in all when its search ends after so many. ``compares``: as in ``phases``."""
    spent = arms + cost * search
    rounds = (1 / SEARCH_SHARE - 1) * spent
    if not compares:
        rounds = max((1 / OPEN_SEARCH_SHARE - 1) * spent, min(rounds, LEAST_OPEN_ROUNDS))
    return arms + search + math.ceil(rounds)
