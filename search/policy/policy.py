"""Which configuration comes next, and whether a trial should continue: functions of the study's trials so far.

Plain TPE goes where the best trials are: it tries a losing level of a scientific hyperparameter in a few trials of
fifty, so that a tuned level is compared with an untuned one. Here the levels are dealt out first, in about equal
shares. Within its level a trial gets, in this order:

1. the baseline's nuisance hyperparameters; the first trial of the study is the baseline itself;
2. those known to work (warm starts);
3. points that fill the space (Sobol), until STARTUP_TRIALS trials of the study have finished;
4. what the sampler proposes, from all trials, each measured against its own level.

So levels are compared at equal nuisance hyperparameters before anything is known. One trial in REPLICATE_EVERY is
outside this order: it repeats a configuration with another training seed, to measure the noise. A trial is pruned
against trials of its own levels only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from search.policy.history import configuration_of, incumbent
from search.policy.levels import Levels, deal, level_offsets
from search.policy.pruning import Pruning, make_pruner
from search.policy.samplers import ask_sampler, make_sampler, sobol, value_at
from search.study.attributes import (
    BASELINE,
    FROM,
    OF,
    REPEATED,
    REPLICATE,
    ROLE,
    SEED,
    WARM_START,
    is_baseline,
    is_replicate,
)
from search.study.space import Factor, distributions, factors, params_of
from search.study.study import Study

STARTUP_TRIALS = 10
"""Finished trials of a study before its sampler is used (the default of Optuna's TPE)."""

REPLICATE_EVERY = 8
"""One in this many trials is a replicate, of the baseline and of the incumbent in turn: three of each in 50 trials."""

NUM_SEEDS = 2**31
"""Training seeds are lower than this (maskcls.config)."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run."""

    params: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    """Its purpose (search.study.attributes): ROLE; OF and SEED of a repetition, FROM of a warm start."""


class Policy:
    """The search policy of one study.

    Every draw is a function of (seed, number of the trial, the trials before it), so a resumed study neither repeats
    its random points nor depends on where it was interrupted.
    """

    def __init__(self, study: Study, seed: int, warm: Sequence[Mapping[str, Any]] = ()) -> None:
        """``warm``: what to try after the baseline, each {"params": nuisance parameters, "from": its source}.

        Raises UserError for a sampler or pruner that cannot be made.
        """
        self.distributions = distributions(study.space)
        self.baseline = params_of(study.space, study.baseline)
        self.factors = factors(study.scientific)
        scientific = {factor.param for factor in self.factors}
        self.tuned = {name: domain for name, domain in self.distributions.items() if name not in scientific}
        self.starts = [Proposal(self._tuned_params({}))]
        """The nuisance parameters that every level begins with: the baseline's, then the warm starts'."""
        for start in warm:
            attributes = {ROLE: WARM_START, FROM: start["from"]}
            self.starts.append(Proposal(self._tuned_params(start["params"]), attributes))
        self.seed, self.sampler = seed, study.sampler
        self.pruner: Pruning | BasePruner = make_pruner(study.pruner)
        make_sampler(self.sampler, seed, 0)  # raises now, not in the first trial that needs the sampler

    def _tuned_params(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given values of tuned parameters, completed with the baseline's."""
        return {name: given.get(name, self.baseline[name]) for name in self.tuned}

    def propose(self, trials: Sequence[FrozenTrial]) -> Proposal:
        """The next trial of a study with these trials, of any state."""
        number = len(trials)
        if number == 0:
            return Proposal(self.baseline, {ROLE: BASELINE})
        if number % REPLICATE_EVERY == REPLICATE_EVERY - 1:
            return self._replicate(trials)
        rng = np.random.default_rng([self.seed, number])
        tried = [trial for trial in trials if self._is_of_space(trial) and not is_replicate(trial)]
        levels = self._next_levels(tried, rng)
        scientific = {
            factor.param: self._draw(factor, level, rng) for factor, level in zip(self.factors, levels, strict=True)
        }
        nuisance = self._nuisance(levels, tried, trials, rng)
        return self._reseeded_if_run(Proposal({**scientific, **nuisance.params}, nuisance.attributes), trials)

    def _next_levels(self, tried: Sequence[FrozenTrial], rng: np.random.Generator) -> Levels:
        """The levels whose turn it is; failed trials do not count."""
        taken = [self._levels(trial) for trial in tried if trial.state != TrialState.FAIL]
        return deal(taken, [len(factor.levels) for factor in self.factors], rng)

    def _draw(self, factor: Factor, level: int, rng: np.random.Generator) -> Any:
        """The level's option, or a random value in its bin."""
        if not factor.is_range:
            return factor.levels[level]
        low, high = factor.levels[level]
        full_range = self.distributions[factor.param]
        assert isinstance(full_range, FloatDistribution | IntDistribution)
        return value_at(type(full_range)(low, high, log=full_range.log), rng.random())

    def _nuisance(
        self, levels: Levels, tried: Sequence[FrozenTrial], trials: Sequence[FrozenTrial], rng: np.random.Generator
    ) -> Proposal:
        """The nuisance parameters that go with these levels: a start, then a Sobol point, then the sampler's."""
        if not self.tuned:
            return Proposal({})
        turn = self._turn(levels, tried)
        if turn < len(self.starts):
            return self.starts[turn]
        history = [trial for trial in trials if trial.state != TrialState.FAIL and self._is_of_space(trial)]
        if sum(trial.state.is_finished() for trial in history) < STARTUP_TRIALS:
            return Proposal(sobol(self.tuned, turn - len(self.starts), self.seed))
        offsets = level_offsets([self._levels(trial) for trial in history], history)
        seed = int(np.random.SeedSequence([self.seed, len(trials)]).generate_state(1)[0])
        sampler = make_sampler(self.sampler, seed, len(history))
        return Proposal(ask_sampler(sampler, self.tuned, history, offsets, rng))

    def _turn(self, levels: Levels, tried: Sequence[FrozenTrial]) -> int:
        """How many trials the least tried of these levels has had; failed ones count, so that they are not repeated.

        In a study that compares nothing: how many trials there are.
        """
        past = [self._levels(trial) for trial in tried]
        return min((sum(used[i] == level for used in past) for i, level in enumerate(levels)), default=len(past))

    def _reseeded_if_run(self, proposal: Proposal, trials: Sequence[FrozenTrial]) -> Proposal:
        """The proposal, with another training seed if its configuration has run: the same seed gives the same value."""
        same = [trial for trial in trials if trial.params == proposal.params and trial.state != TrialState.FAIL]
        if not same:
            return proposal
        seed = training_seed(self.seed, len(trials))
        return Proposal(proposal.params, {ROLE: REPEATED, OF: same[0].number, SEED: seed})

    def _replicate(self, trials: Sequence[FrozenTrial]) -> Proposal:
        """The baseline again, or the best other configuration, in turn, with a new training seed."""
        number, original = len(trials), trials[0]
        if number // REPLICATE_EVERY % 2 == 1:
            original = next(iter(incumbent(trials, other_than=configuration_of(self.baseline))), original)
        seed = training_seed(self.seed, number)
        return Proposal(dict(original.params), {ROLE: REPLICATE, OF: original.number, SEED: seed})

    def _is_of_space(self, trial: FrozenTrial) -> bool:
        return self.distributions.keys() <= trial.params.keys()

    def _levels(self, trial: FrozenTrial) -> Levels:
        return tuple(factor.level(trial.params) for factor in self.factors)

    def should_continue(self, study: optuna.Study, trial: FrozenTrial, planned_evaluations: int) -> bool:
        """Whether a trial that has just reported should continue.

        With scientific factors it is compared with the trials of its own level, and stops only if it is not good
        enough at any of its levels: the answer judges levels, not the pruner. The baseline and replicates always
        continue, as the noise is computed from them.
        """
        if self.is_never_pruned(trial):
            return True
        if isinstance(self.pruner, BasePruner):
            return not self.pruner.prune(study, trial)
        if trial.last_step not in self.pruner.rungs(planned_evaluations):
            return True
        others = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and other.intermediate_values and other.state != TrialState.FAIL
        ]
        curve, pruner = trial.intermediate_values, self.pruner
        curve_groups = ([peer.intermediate_values for peer in peers] for peers in self._peer_groups(trial, others))
        return any(pruner.should_continue(curve, curves, planned_evaluations) for curves in curve_groups)

    def is_never_pruned(self, trial: FrozenTrial) -> bool:
        """Whether the trial's own value is needed, whatever it is."""
        return is_baseline(trial) or is_replicate(trial)

    def _peer_groups(self, trial: FrozenTrial, others: Sequence[FrozenTrial]) -> list[Sequence[FrozenTrial]]:
        """For each factor the trials at the same level; all trials in a study that compares nothing."""
        if not self.factors:
            return [others]
        return [
            [other for other in others if factor.level(other.params) == factor.level(trial.params)]
            for factor in self.factors
        ]

    def describe_pruning(self, planned_evaluations: int) -> str:
        """The line of the plan on pruning."""
        if isinstance(self.pruner, BasePruner):
            return type(self.pruner).__name__
        against = ", within its level" if self.factors and self.pruner.rungs(planned_evaluations) else ""
        return self.pruner.describe(planned_evaluations) + against


def training_seed(*entropy: int) -> int:
    """A training seed that is a function of these numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0]) % NUM_SEEDS
