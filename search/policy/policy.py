"""Which configuration comes next, and whether a trial goes on: functions of the study's trials so far.

Plain TPE chases the best, so it visits a losing level of a scientific knob in a few trials of fifty only, and then
what is compared is a tuned level with an untuned one. Here the levels are dealt out first, in about equal shares.
Every level begins with the same nuisance settings: the baseline's, those known to work (warm starts), points that
fill the space (Sobol). So levels are compared at equal settings before anything is known. Then the sampler tunes the
nuisance knobs, from all trials, each measured against its own level. A trial is pruned against trials of its own
levels only. One trial in eight repeats a setting with another training seed, so that the study knows its own noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from search.policy.history import incumbent, setting
from search.policy.levels import Levels, deal, level_offsets
from search.policy.pruning import Pruning, make_pruner
from search.policy.samplers import make_sampler, sobol, tune, value_at
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
"""Finished trials before the sampler has something to go by (the default of Optuna's TPE)."""

REPLICATE_EVERY = 8
"""One trial in so many repeats a setting: the baseline and the incumbent in turn, three times each in 50 trials."""

MOST_SEEDS = 2**31
"""A training seed is lower than this (maskcls.config)."""


@dataclass(frozen=True)
class Proposal:
    """A trial to be run."""

    params: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    """What it is for (search.study.attributes): ROLE; OF and SEED of what runs again, FROM of a warm start."""


class AnyPolicy(Protocol):
    """What a worker asks of a policy: the search's own, or a confirmation's."""

    distributions: dict[str, BaseDistribution]

    def propose(self, trials: Sequence[FrozenTrial]) -> Proposal:
        """The next trial of a study that has these so far, of any state."""

    def goes_on(self, study: optuna.Study, trial: FrozenTrial, num_evaluations: int) -> bool:
        """Whether a trial that has just reported should go on."""


class Policy:
    """The search policy of one study.

    Every draw is a function of (seed, number of the trial, the trials before it), so a resumed study neither repeats
    its random points nor depends on where it was interrupted.
    """

    def __init__(self, study: Study, seed: int, warm: Sequence[Mapping[str, Any]] = ()) -> None:
        """``warm``: settings to try after the baseline, each {"params": nuisance parameters, "from": its source}.

        Raises UserError for a sampler or pruner that cannot be made.
        """
        self.distributions = distributions(study.space)
        self.baseline = params_of(study.space, study.baseline)
        self.factors = factors(study.scientific)
        scientific = {factor.param for factor in self.factors}
        self.tuned = {name: found for name, found in self.distributions.items() if name not in scientific}
        self.seed, self.warm, self.asked = seed, list(warm), study.sampler
        self.pruner: Pruning | BasePruner = make_pruner(study.pruner)
        make_sampler(self.asked, seed, 0)  # what cannot be made is said now

    def propose(self, trials: Sequence[FrozenTrial]) -> Proposal:
        """The next trial of a study that has these so far, of any state."""
        number = len(trials)
        if number == 0:
            return Proposal(self.baseline, {ROLE: BASELINE})
        if number % REPLICATE_EVERY == REPLICATE_EVERY - 1:
            return self._replicate(trials)
        rng = np.random.default_rng([self.seed, number])
        begun = [trial for trial in trials if self._is_of_space(trial) and not is_replicate(trial)]
        levels = deal(
            [self._levels(trial) for trial in begun if trial.state != TrialState.FAIL],
            [len(factor.levels) for factor in self.factors],
            rng,
        )
        asked = {
            factor.param: self._draw(factor, index, rng) for factor, index in zip(self.factors, levels, strict=True)
        }
        nuisance = self._nuisance(levels, begun, trials, rng) if self.tuned else Proposal({})
        return self._or_repeat(Proposal({**asked, **nuisance.params}, nuisance.attributes), trials)

    def _or_repeat(self, proposal: Proposal, trials: Sequence[FrozenTrial]) -> Proposal:
        """The proposal; when its very setting has run, with another training seed, as it would only end the same."""
        same = [trial for trial in trials if trial.params == proposal.params and trial.state != TrialState.FAIL]
        if not same:
            return proposal
        return Proposal(proposal.params, {ROLE: REPEATED, OF: same[0].number, SEED: self._other_seed(len(trials))})

    def _other_seed(self, number: int) -> int:
        """A training seed for this trial alone."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]) % MOST_SEEDS

    def _replicate(self, trials: Sequence[FrozenTrial]) -> Proposal:
        """The baseline again, or the best other setting, in turn; with a training seed that no trial has had."""
        number, base = len(trials), setting(self.baseline)
        of = trials[0]
        if number // REPLICATE_EVERY % 2 == 1:
            of = next(iter(incumbent(trials, apart=base)), of)
        return Proposal(dict(of.params), {ROLE: REPLICATE, OF: of.number, SEED: self._other_seed(number)})

    def _nuisance(
        self, levels: Levels, begun: Sequence[FrozenTrial], trials: Sequence[FrozenTrial], rng: np.random.Generator
    ) -> Proposal:
        """The nuisance setting that goes with these levels."""
        # how many trials the least tried of the levels has had; failed ones too, not to repeat what failed
        past = [self._levels(trial) for trial in begun]
        place = min((sum(found[i] == level for found in past) for i, level in enumerate(levels)), default=len(past))
        if place == 0:
            return Proposal({name: self.baseline[name] for name in self.tuned})
        if place <= len(self.warm):
            warm = self.warm[place - 1]
            params = {name: warm["params"].get(name, self.baseline[name]) for name in self.tuned}
            return Proposal(params, {ROLE: WARM_START, FROM: warm["from"]})
        others = [trial for trial in trials if trial.state != TrialState.FAIL and self._is_of_space(trial)]
        if sum(trial.state.is_finished() for trial in others) < STARTUP_TRIALS:
            return Proposal(sobol(self.tuned, place - 1 - len(self.warm), self.seed))
        offsets = level_offsets([self._levels(trial) for trial in others], others)
        seed = int(np.random.SeedSequence([self.seed, len(trials)]).generate_state(1)[0])
        return Proposal(tune(make_sampler(self.asked, seed, len(others)), self.tuned, others, offsets, rng))

    def _is_of_space(self, trial: FrozenTrial) -> bool:
        return self.distributions.keys() <= trial.params.keys()

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

    def goes_on(self, study: optuna.Study, trial: FrozenTrial, num_evaluations: int) -> bool:
        """Whether a trial that has just reported should go on.

        With scientific factors it is compared with the trials of its own level, and stops only when it is not good
        enough at any of its levels: whole levels are the answer's to judge. What is there for its own value, the
        baseline and every replicate, always goes on.
        """
        if self.always_goes_on(trial):
            return True
        if isinstance(self.pruner, BasePruner):
            return not self.pruner.prune(study, trial)
        if trial.last_step not in self.pruner.rungs(num_evaluations):
            return True
        trials = study.get_trials(deepcopy=False)
        others = [
            other
            for other in trials
            if other.number != trial.number and other.intermediate_values and other.state != TrialState.FAIL
        ]
        pruner = self.pruner
        return any(
            pruner.goes_on(trial.intermediate_values, [peer.intermediate_values for peer in peers], num_evaluations)
            for peers in self._peer_groups(trial, others)
        )

    def always_goes_on(self, trial: FrozenTrial) -> bool:
        """Whether the trial is there for its own value: the noise is known from these."""
        return is_baseline(trial) or is_replicate(trial)

    def _peer_groups(self, trial: FrozenTrial, others: Sequence[FrozenTrial]) -> list[Sequence[FrozenTrial]]:
        if not self.factors:
            return [others]
        return [
            [other for other in others if factor.level(other.params) == factor.level(trial.params)]
            for factor in self.factors
        ]

    def describe_pruning(self, num_evaluations: int) -> str:
        """One line for the plan."""
        if isinstance(self.pruner, BasePruner):
            return type(self.pruner).__name__
        against = ", of its level" if self.factors and self.pruner.rungs(num_evaluations) else ""
        return self.pruner.describe(num_evaluations) + against
