"""Which configuration comes next, and which trial is not worth finishing.

Plain TPE chases the best, so it visits a losing level of a scientific knob in a few trials of fifty only, and then
what is compared is a tuned level with an untuned one. Here the levels are dealt out first, in about equal shares.
Every level begins with the baseline's nuisance setting and goes on with the same quasi-random ones (Sobol), so that
levels are compared at equal settings before anything is known; then TPE tunes the nuisance knobs, from all trials,
each measured against its own level. A trial is pruned against trials of its own levels only.
"""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import qmc

from search.space import Factor, distributions, factors, params_of
from search.study import Study

RUNG_SHARES = (1 / 4, 1 / 2)
"""Where trials are compared, as shares of the study's length: not before the warm-up, a tenth, is well over."""
RUNG_FACTOR = 2
"""The best one in this many goes on."""
STARTUP_TRIALS = 10
"""Finished trials before TPE has something to go by (Optuna's own default)."""
MOST_COMBINATIONS = 1024
"""More combinations of levels than this are sampled, not listed, when the next one is dealt."""

Levels = tuple[int, ...]


class StudySampler(BaseSampler):
    """Deals out the scientific levels and lets TPE tune the rest.

    Every trial's draws are a function of (seed, its number, the trials before it), so a resumed study neither
    repeats its random points nor depends on where it was interrupted.
    """

    def __init__(self, study: Study, seed: int) -> None:
        self.distributions = distributions(study.space)
        self.baseline = params_of(study.space, study.baseline)
        self.factors = factors(study.scientific)
        scientific = {factor.param for factor in self.factors}
        self.tuned = {name: found for name, found in self.distributions.items() if name not in scientific}
        self.seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space, known from the study and not guessed from its trials."""
        return self.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of all parameters of the next trial."""
        rng = np.random.default_rng([self.seed, trial.number])
        begun = [other for other in study.get_trials(deepcopy=False) if self._has_begun(other, trial)]
        others = [other for other in begun if other.state != TrialState.FAIL]
        levels = deal([self._levels(other) for other in others], [len(factor.levels) for factor in self.factors], rng)
        asked = {
            factor.param: self._draw(factor, index, rng) for factor, index in zip(self.factors, levels, strict=True)
        }
        if not self.tuned:
            return asked
        finished = sum(other.state.is_finished() for other in others)
        nuisance = (
            self._tune(others, trial.number) if finished >= STARTUP_TRIALS else self._first(self._place(levels, begun))
        )
        return {**asked, **nuisance}

    def _place(self, levels: Levels, begun: Sequence[FrozenTrial]) -> int:
        """How many trials the least tried of these levels has had; failed ones too, not to repeat what failed."""
        if not levels:
            return len(begun)
        past = [self._levels(other) for other in begun]
        return min(sum(found[i] == level for found in past) for i, level in enumerate(levels))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value, for parameters that the study's document does not know (there are none)."""
        return RandomSampler(self.seed + trial.number).sample_independent(study, trial, param_name, param_distribution)

    def _has_begun(self, other: FrozenTrial, trial: FrozenTrial) -> bool:
        return other.number != trial.number and all(factor.param in other.params for factor in self.factors)

    def _levels(self, trial: FrozenTrial) -> Levels:
        return tuple(factor.level(trial.params) for factor in self.factors)

    def _draw(self, factor: Factor, index: int, rng: np.random.Generator) -> Any:
        """The level's option, or a random value of its stretch."""
        if not factor.is_range:
            return factor.levels[index]
        low, high = factor.levels[index]
        whole = self.distributions[factor.param]
        assert isinstance(whole, FloatDistribution | IntDistribution)
        return value_at(type(whole)(low, high, log=whole.log), rng.random())

    def _first(self, index: int) -> dict[str, Any]:
        """The nuisance setting that every level tries as its ``index``-th: the baseline's, then Sobol's points."""
        if index == 0:
            return {name: self.baseline[name] for name in self.tuned}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # balance is lost when not 2^n points are drawn; no matter
            point = qmc.Sobol(len(self.tuned), rng=self.seed).random(index)[-1]
        return {name: value_at(found, float(u)) for (name, found), u in zip(self.tuned.items(), point, strict=True)}

    def _tune(self, others: Sequence[FrozenTrial], number: int) -> dict[str, Any]:
        """Values of the nuisance knobs by TPE, on copies of the trials that know of no level but through its offset."""
        offsets = level_offsets([self._levels(other) for other in others], others)
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of group
            tpe = TPESampler(seed=seed, n_startup_trials=0, multivariate=True, group=True, constant_liar=True)
        copy = optuna.create_study(direction="maximize", sampler=tpe)
        copy.add_trials([_shifted(other, offset, self.tuned) for other, offset in zip(others, offsets, strict=True)])
        return copy.ask(self.tuned).params


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value that lies at this share, in [0, 1), of the distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices[int(share * len(choices))]
        case IntDistribution(low=low, high=high, log=log):
            edges = (low - 0.5, high + 0.5)
            value = round(_between(edges[0] if not log else max(edges[0], 0.5), edges[1], log, share))
            return min(max(value, low), high)
        case FloatDistribution(low=low, high=high, log=log):
            return min(max(_between(low, high, log, share), low), high)
    raise AssertionError(distribution)


def _between(low: float, high: float, log: bool, share: float) -> float:
    if log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)


def deal(taken: Sequence[Levels], sizes: Sequence[int], rng: np.random.Generator) -> Levels:
    """The next combination of levels, given those of the trials so far and the number of levels of each factor.

    One of those that keep each factor's levels evenly used first, then each pair's of factors (or two factors could
    go hand in hand and never be told apart), else at random.
    """
    if math.prod(sizes) <= MOST_COMBINATIONS:
        candidates = list(itertools.product(*(range(size) for size in sizes)))
    else:
        candidates = [tuple(int(rng.integers(size)) for size in sizes) for _ in range(MOST_COMBINATIONS)]
    order = rng.permutation(len(candidates))
    pairs = list(itertools.combinations(range(len(sizes)), 2))

    def crowding(levels: Levels) -> tuple[int, int]:
        alone = sum(past[i] == levels[i] for past in taken for i in range(len(sizes)))
        paired = sum((past[i], past[j]) == (levels[i], levels[j]) for past in taken for i, j in pairs)
        return alone, paired

    return min((candidates[index] for index in order), key=crowding)


def level_offsets(levels: Sequence[Levels], trials: Sequence[FrozenTrial]) -> list[float]:
    """How much better or worse each trial's levels do than the study as a whole, by medians of complete trials.

    Taken off the values, they leave what the nuisance knobs did: the good half of a losing level counts as good.
    Several factors are taken off one after the other (Tukey's median polish, one sweep).
    """
    offset_N = np.zeros(len(trials))
    value_N = np.array([trial.value if trial.state == TrialState.COMPLETE else np.nan for trial in trials], dtype=float)
    if not np.isfinite(value_N).any():
        return offset_N.tolist()
    for level_N in zip(*levels, strict=True):
        residual_N = value_N - offset_N
        centre = np.nanmedian(residual_N)
        for level in set(level_N):
            here_N = np.array(level_N) == level
            if np.isfinite(residual_N[here_N]).any():
                offset_N[here_N] += np.nanmedian(residual_N[here_N]) - centre
    return offset_N.tolist()


def _shifted(trial: FrozenTrial, offset: float, kept: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """A copy of a trial with the kept parameters only and all its values lowered by ``offset``.

    An interrupted one counts as running, as it will again: a waiting copy would be handed out as the next trial.
    """
    value = trial.value - offset if trial.state.is_finished() and trial.value is not None else None
    return create_trial(
        state=trial.state if trial.state.is_finished() else TrialState.RUNNING,
        value=value,
        params={name: trial.params[name] for name in kept if name in trial.params},
        distributions={name: found for name, found in kept.items() if name in trial.params},
        intermediate_values={step: found - offset for step, found in trial.intermediate_values.items()},
    )


class RungPruner(BasePruner):
    """Successive halving without waiting: at each rung the best one in ``factor`` of those that got there goes on.

    Scores are the best evaluation so far, as a trial's value is. With scientific factors, a trial is compared
    with the trials of its own level, and stops only when it is not good enough at any of its levels: whole levels
    are the answer's to judge.
    """

    def __init__(self, study: Study, num_evaluations: int, factor: int = RUNG_FACTOR) -> None:
        self.factors = factors(study.scientific)
        self.rungs = rungs(num_evaluations)
        self.factor = factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop at the evaluation it has just reported."""
        step = trial.last_step
        if step is None or step not in self.rungs:
            return False
        here = _best_until(trial, step)
        others = [
            other for other in study.get_trials(deepcopy=False) if _got_to(other, step) and other.number != trial.number
        ]
        return not any(self._goes_on(here, peers, step) for peers in self._peer_groups(trial, others))

    def _peer_groups(self, trial: FrozenTrial, others: Sequence[FrozenTrial]) -> list[list[FrozenTrial]]:
        if not self.factors:
            return [list(others)]
        return [
            [other for other in others if factor.level(other.params) == factor.level(trial.params)]
            for factor in self.factors
        ]

    def _goes_on(self, here: float, peers: Sequence[FrozenTrial], step: int) -> bool:
        places = max(1, (len(peers) + 1) // self.factor)
        return sum(_best_until(peer, step) > here for peer in peers) < places


def rungs(num_evaluations: int) -> tuple[int, ...]:
    """The evaluations at which trials are compared; never the last one, after which there is nothing to save."""
    steps = {max(1, math.ceil(share * num_evaluations)) for share in RUNG_SHARES}
    return tuple(sorted(steps - {num_evaluations}))


def _got_to(trial: FrozenTrial, step: int) -> bool:
    return trial.state != TrialState.FAIL and trial.last_step is not None and trial.last_step >= step


def _best_until(trial: FrozenTrial, step: int) -> float:
    return max(value for at, value in trial.intermediate_values.items() if at <= step)
