"""Which configuration comes next, and whether a trial should continue: functions of the study's trials so far.

A study has three phases (phases.py): round 0, a search of the nuisance hyperparameters, and the rounds that its answer
is computed from (rounds.py).

Plain TPE goes where the best trials are: it tries a losing level of a scientific hyperparameter in a few trials of
fifty, so that a tuned level is compared with an untuned one. In the search the levels are dealt out first, in about
equal shares. Within its level a trial gets, in this order:

1. the nuisance hyperparameters known to work (warm starts); those of the baseline it had in round 0;
2. points that fill the space (Sobol), until STARTUP_TRIALS trials of the study have finished;
3. what the sampler proposes, from all trials, each measured against its own level.

A trial of the search is pruned against trials of its own levels only. In the rounds all levels have one setting of the
nuisance hyperparameters, near the best for all of them (surface.py); a study that compares nothing trains its
finalists instead, each at its own setting. With ``limits.own_best`` a round has each level at its own best setting.
"""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig
from search.policy.draft import Draft
from search.policy.history import configuration_of
from search.policy.levels import Levels, deal, level_offsets
from search.policy.phases import (
    LEAST_SEARCH,
    PRUNED_COST,
    Phases,
    cost_of_search,
    evaluations_begun,
    is_patience_over,
    n_trials_after,
    num_left,
    phases,
    search_budget,
    searched,
    trainings_left,
)
from search.policy.pruning import Pruning, make_pruner
from search.policy.rounds import FINALISTS, Arm, Planned, RoundPlan, Rounds, arms_of, arms_of_round, copies
from search.policy.samplers import ask_sampler, make_sampler, sobol, value_at
from search.policy.stopping import DECIDED, LACKS_TIME, StoppingCriteria, count_finished, patience_used, reached
from search.policy.surface import Scored, Surface, common_setting, own_settings, scored
from search.study.attributes import (
    FROM,
    JUDGE_ROUND,
    LEVEL,
    OF,
    OWN_BEST,
    PLACE,
    REPEATED,
    ROLE,
    ROUND,
    ROUND_PLAN,
    SEED,
    SINCE_BEST,
    WARM_START,
    is_baseline,
    is_own_best,
    is_replicate,
    round_of,
)
from search.study.space import Factor, distributions, factors, params_of
from search.study.study import Study

STARTUP_TRIALS = 10
"""Finished trials of a study before its sampler is used (the default of Optuna's TPE)."""

ENDLESS = StoppingCriteria(10**9)
"""Without limits a study searches for ever, once its first round has begun."""

NUM_SEEDS = 2**31
"""Training seeds are lower than this (maskcls.config)."""

ROUND_STREAM = 1
"""Tells the random draws of rounds from those of the search."""

SAMPLED = "sampled"
"""The part of a draft that the sampler has proposed; that of a round has the round's number."""

MORE_JUDGES = 50
"""So many crowds more than there are rounds are asked whether they can judge."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run."""

    params: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    """Its purpose (search.study.attributes): ROLE; OF and SEED of a repetition, FROM of a warm start, and what a
    training of a round has."""


class Policy:
    """The search policy of one study.

    Every draw is a function of (seed, number of the trial, the trials before it), so a resumed study neither repeats
    its random points nor depends on where it was interrupted.
    """

    def __init__(
        self,
        study: Study,
        seed: int,
        warm: Sequence[Mapping[str, Any]] = (),
        can_judge: Callable[[int], bool] = lambda number: True,
    ) -> None:
        """``warm``: what to try after the baseline, each {"params": nuisance parameters, "from": its source}.
        ``can_judge``: whether the people of this judge_round can judge trainings (split.choose_judges).

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
        self.seed, self.sampler, self._can_judge = seed, study.sampler, can_judge
        self.pruner: Pruning | BasePruner = make_pruner(study.pruner)
        make_sampler(self.sampler, seed, 0)  # raises now, not in the first trial that needs the sampler
        config = {**TrainConfig().model_dump(), **study.fixed}
        self.per_epoch: int = config["evaluations_per_epoch"]
        self.planned_evaluations: int = config["epochs"] * self.per_epoch
        self._judge_round: int = config["judge_round"]
        self.arms = arms_of(study)
        """The reference, then what is compared with it; the reference alone in a study that compares nothing."""
        first = tuple(
            Planned(arm.name, {**self._scientific(arm, 0, place), **self.starts[0].params}, None)
            for place, arm in enumerate(self.arms)
        )
        self.first_round = RoundPlan(0, self._judge_round, first)

    def _tuned_params(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given values of tuned parameters, completed with the baseline's."""
        return {name: given.get(name, self.baseline[name]) for name in self.tuned}

    def phases(self, limits: StoppingCriteria, trials: Sequence[FrozenTrial] = ()) -> Phases:
        """How a study with these trials divides the limit on trials."""
        kind = bool(self.factors), bool(self.tuned)
        planned = phases(limits.n_trials, len(self.arms), self._cost(()), *kind)
        if not self.factors and not planned.rounds:  # too short for rounds, and so it stays once the search has begun
            return planned
        least = 0 if searched(trials) else LEAST_SEARCH  # a search that has begun is not cut off for being short
        return phases(limits.n_trials, len(self.arms), self._cost(trials), *kind, least)

    def phases_within(
        self, limits: StoppingCriteria, trials: Sequence[FrozenTrial] = (), closed: Collection[str] = ()
    ) -> Phases:
        """What all trials are for, those that a study has and those that ``propose`` would add to them.

        There are as many as the limits on trials and epochs leave room for; the trainings of rounds with each level at
        its own best setting, which answer another question, are left out. ``closed``: as in ``propose``.
        """
        limits = self.shortened(limits, trials)
        found = self._phases_to_come(limits, trials, closed)
        if limits.max_epochs is None:
            return found
        trainings = limits.max_epochs * self.per_epoch / self.planned_evaluations - sum(map(is_own_best, trials))
        n_trials, least = limits.n_trials, max(1, limits.n_trials - num_left(trials, limits.n_trials))
        while n_trials > least and found.trainings > trainings:
            # no trial costs more than a training
            n_trials = max(least, min(n_trials - 1, math.ceil(n_trials - (found.trainings - trainings))))
            found = self._phases_to_come(replace(limits, n_trials=n_trials), trials, closed)
        return found

    def _phases_to_come(
        self, limits: StoppingCriteria, trials: Sequence[FrozenTrial], closed: Collection[str]
    ) -> Phases:
        """The phases of a study with these trials, when it ends at the limit on trials."""
        rounds, left = self.rounds(trials), max(0, num_left(trials, limits.n_trials))
        begun = [trial for trial in trials if trial.state != TrialState.FAIL]
        search = len(searched(trials))
        first = sum(round_of(trial) == 0 for trial in begun)
        later = len(begun) - search - first - sum(map(is_own_best, begun))
        begins = self._begins_with_round(rounds, trials, limits)
        owed = [plan for plan, _ in rounds.owed() if begins or plan.number > 0][:left]
        first, left = first + sum(plan.number == 0 for plan in owed), left - len(owed)
        later += sum(plan.number > 0 and not plan.own_best for plan in owed)
        if not self._is_search_over(rounds, trials, limits):
            more = min(left, self.phases(limits, trials).search - search)
            search, left = search + more, left - more
        compared = self.compared(trials)
        others = [name for name in compared if name not in closed]
        if compared and not others:  # all is decided, and what is left is not needed
            return Phases(first, search, later, self._cost(trials))
        if not begins or left < 1 + (len(others) or min(FINALISTS, max(1, search))):  # not another round
            return Phases(first, search + left, later, self._cost(trials))
        return Phases(first, search, later + left, self._cost(trials))

    def _cost(self, trials: Sequence[FrozenTrial]) -> float:
        """What a trial of the search costs, in full trainings."""
        can_stop = isinstance(self.pruner, BasePruner) or bool(self.pruner.rungs(self.planned_evaluations))
        return cost_of_search(trials, self.planned_evaluations, PRUNED_COST if can_stop else 1.0)

    def propose(
        self,
        trials: Sequence[FrozenTrial],
        limits: StoppingCriteria = ENDLESS,
        closed: Collection[str] = (),
        draft: Draft | None = None,
    ) -> Proposal:
        """The next trial of a study with these trials, of any state.

        ``closed``: names of the arms that are decided and get no more trainings. ``draft``: gets the slow parts of the
        proposal, or has them if it is finished. Raises OutdatedDraftError when it lacks one.
        """
        draft = draft or Draft(trials)
        limits = self.shortened(limits, trials)
        rounds = self.rounds(trials)
        owed = self._owed(rounds, trials, limits)
        if owed is not None:
            return self._training(*owed, trials)
        if self._is_search_over(rounds, trials, limits):
            plan = self._next_round(rounds, trials, limits, closed, draft)
            if plan is not None:
                return self._training(plan, 0, trials)
        return self.search(trials, draft)

    def shortened(self, limits: StoppingCriteria, trials: Sequence[FrozenTrial]) -> StoppingCriteria:
        """The limits, with fewer trials once the patience is over: those that the rounds after a short search have."""
        if not is_patience_over(trials, limits):
            return limits
        n_trials = n_trials_after(len(searched(trials)), len(self.arms), self._cost(trials), bool(self.factors))
        n_trials += sum(is_own_best(trial) and trial.state != TrialState.FAIL for trial in trials)
        return replace(limits, n_trials=min(limits.n_trials, n_trials))

    def is_decided(self, trials: Sequence[FrozenTrial], closed: Collection[str]) -> bool:
        """Whether all that the rounds compare with the reference is ``closed``: no trial could change the answer."""
        compared = self.compared(trials)
        return bool(compared) and set(compared) <= set(closed)

    def reached(self, limits: StoppingCriteria, trials: Sequence[FrozenTrial], closed: Collection[str] = ()) -> str:
        """The option whose limit has been reached, as ``--n-trials 50``, DECIDED or LACKS_TIME; empty while the study
        should continue. ``closed``: names of the arms that are decided.

        A round after the first that has begun may exceed the epochs, as without all its trainings it says nothing.
        """
        if count_finished(trials) < limits.n_trials and self.is_decided(trials, closed):
            return DECIDED
        limit = reached(limits, trials, self.per_epoch)
        if limit and count_finished(trials) < limits.n_trials and self._is_in_round(trials):
            return ""
        if not limit and count_finished(trials) >= self.shortened(limits, trials).n_trials:
            return f"--patience {limits.patience}"
        return limit or (LACKS_TIME if self._lacks_time(trials, limits, closed) else "")

    def _lacks_time(self, trials: Sequence[FrozenTrial], limits: StoppingCriteria, closed: Collection[str]) -> bool:
        """Whether the time left is enough for no other round, once the rounds after the first have begun.

        No round of this command would ask about what a search finds then.
        """
        rounds = self.rounds(trials)
        is_waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if limits.expected_epochs is None or rounds.last == 0 or is_waiting or any(True for _ in rounds.owed()):
            return False
        limits = self.shortened(limits, trials)
        least = 1 + len(set(self.compared(trials)) - set(closed))
        left = trainings_left(trials, limits, self.planned_evaluations, self.per_epoch, self._cost(trials))
        return left < least <= num_left(trials, limits.n_trials)

    def _is_in_round(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether trainings of a round after the first are owed, or wait to go on."""
        waiting = (trial for trial in trials if trial.state == TrialState.WAITING)
        return any(plan.number > 0 for plan, _ in self.rounds(trials).owed()) or any(map(round_of, waiting))

    def rounds(self, trials: Sequence[FrozenTrial]) -> Rounds:
        """The rounds of a study with these trials."""
        return Rounds(trials, self.first_round)

    def compared(self, trials: Sequence[FrozenTrial]) -> list[str]:
        """The arms that the rounds compare with the reference; none in a study that has not chosen its finalists."""
        if self.factors:
            return [arm.name for arm in self.arms[1:]]
        return list(self._finalists(self.rounds(trials)))

    def share_of_rounds(
        self,
        trials: Sequence[FrozenTrial],
        limits: StoppingCriteria,
        closed: Collection[str] = (),
        own_best: bool = False,
    ) -> float:
        """The part of the trainings of the rounds of this kind that its complete rounds have, of all that the limits
        leave room for: none but those that are owed, where the limits are on rounds of the other kind."""
        limits, rounds = self.shortened(limits, trials), self.rounds(trials)
        complete = set(rounds.complete(own_best))
        begun_ones = [trial for trial in rounds.of_kind(own_best) if trial.state != TrialState.FAIL]
        done = sum(round_of(trial) in complete for trial in begun_ones)
        begun = len(begun_ones)
        owed = sum(plan.own_best == own_best for plan, _ in rounds.owed())
        if limits.own_best != own_best:
            return done / max(1, begun + owed)
        left = max(owed, trainings_left(trials, limits, self.planned_evaluations, self.per_epoch, self._cost(trials)))
        if left < 1 + len([name for name in self.compared(trials) if name not in closed]):  # not another round
            left = owed
        return done / max(1, begun + left)

    def _owed(
        self, rounds: Rounds, trials: Sequence[FrozenTrial], limits: StoppingCriteria
    ) -> tuple[RoundPlan, int] | None:
        """The next training of the rounds that have begun."""
        for plan, place in rounds.owed():
            if plan.number == 0 and not self._begins_with_round(rounds, trials, limits):
                continue
            return plan, place
        return None

    def _begins_with_round(self, rounds: Rounds, trials: Sequence[FrozenTrial], limits: StoppingCriteria) -> bool:
        """Whether round 0 is wanted: in a study of an earlier version only if there is room for another one."""
        return bool(rounds.trainings) or not trials or num_left(trials, limits.n_trials) >= 2 * len(self.arms)

    def _is_search_over(self, rounds: Rounds, trials: Sequence[FrozenTrial], limits: StoppingCriteria) -> bool:
        """Whether the rounds have their turn. They keep it: who adds trials to a study asks for a better answer."""
        if rounds.last > 0 or limits.own_best or is_patience_over(trials, limits):
            return True
        if len(searched(trials)) >= self.phases(limits, trials).search:
            return True
        epochs = limits.epochs_in_all()
        if epochs is None:
            return False
        budget = search_budget(epochs * self.per_epoch / self.planned_evaluations, bool(self.factors))
        longest = (budget - len(self.arms)) / self._cost(trials)
        if self.factors and not searched(trials) and longest < LEAST_SEARCH * len(self.arms):
            return True
        return (
            evaluations_begun(trials, self.planned_evaluations, self._cost(trials)) >= budget * self.planned_evaluations
        )

    def _training(self, plan: RoundPlan, place: int, trials: Sequence[FrozenTrial]) -> Proposal:
        """A training of a round; the first one brings the plan."""
        planned = plan.trainings[place]
        attributes = {ROLE: ROUND, ROUND: plan.number, PLACE: place, LEVEL: planned.arm, JUDGE_ROUND: plan.judges}
        if planned.seed is not None:
            attributes[SEED] = planned.seed
        if plan.own_best:
            attributes[OWN_BEST] = True
        if plan.number > 0 and place == 0:
            attributes[ROUND_PLAN] = plan.to_json()
        if plan.number == 1 and place == 0:
            attributes[SINCE_BEST] = patience_used(trials)
        return Proposal(dict(planned.params), attributes)

    def _next_round(
        self,
        rounds: Rounds,
        trials: Sequence[FrozenTrial],
        limits: StoppingCriteria,
        closed: Collection[str],
        draft: Draft,
    ) -> RoundPlan | None:
        """The plan of another round; None when nothing is open, or too few trainings are left."""
        if not rounds.trainings:  # a study of an earlier version, without room for the first one
            return None
        number = rounds.last + 1
        choose = self._own_best_of_arms if limits.own_best else self._params_of_arms
        params_of_arm = draft.part(number, lambda: choose(rounds, trials, number), len(trials))
        reference, *others = params_of_arm
        left = trainings_left(trials, limits, self.planned_evaluations, self.per_epoch, self._cost(trials))
        arms = arms_of_round(reference, [name for name in others if name not in closed], left)
        if not arms:
            return None
        trainings = tuple(
            Planned(arm, params_of_arm[arm], training_seed(self.seed, number, copy, ROUND_STREAM))
            for arm, copy in zip(arms, copies(arms), strict=True)
        )
        return RoundPlan(number, self._judges_of(number), trainings, limits.own_best)

    def _params_of_arms(
        self, rounds: Rounds, trials: Sequence[FrozenTrial], number: int
    ) -> dict[str, Mapping[str, Any]]:
        """Arm -> its parameters in the round of this number, the reference's first."""
        trainings = self._scored(trials)
        if not self.factors:
            finalists = self._finalists(rounds) or self._choose_finalists(trials, trainings)
            return {self.arms[0].name: self.baseline, **finalists}
        setting: Mapping[str, Any] = self.starts[0].params  # the best that is known without a search
        if self.tuned and trainings and searched(trials):
            rng = np.random.default_rng([self.seed, number, ROUND_STREAM])
            setting = common_setting(self.tuned, trainings, rng)
        return {arm.name: {**self._scientific(arm, number, place), **setting} for place, arm in enumerate(self.arms)}

    def _own_best_of_arms(
        self, rounds: Rounds, trials: Sequence[FrozenTrial], number: int
    ) -> dict[str, Mapping[str, Any]]:
        """As ``_params_of_arms``, with each arm at its own best setting. The study tunes something, and has levels."""
        levels = [arm.levels for arm in self.arms]
        settings = own_settings(self.tuned, self._scored(trials), levels, [self.seed, number, ROUND_STREAM])
        return {
            arm.name: {**self._scientific(arm, number, place), **setting}
            for place, (arm, setting) in enumerate(zip(self.arms, settings, strict=True))
        }

    def _finalists(self, rounds: Rounds) -> dict[str, Mapping[str, Any]]:
        """The finalists that the first rounds have; none before."""
        planned = [training for plan in rounds.plans.values() for training in plan.trainings]
        return {training.arm: training.params for training in planned if training.arm != self.arms[0].name}

    def _choose_finalists(
        self, trials: Sequence[FrozenTrial], trainings: Sequence[Scored]
    ) -> dict[str, Mapping[str, Any]]:
        """The settings from which most is expected, besides the baseline, of those that have a complete trial."""
        if not trainings:
            return {}
        numbers: dict[Any, int] = {}
        for trial in searched(trials):
            if trial.state == TrialState.COMPLETE:
                numbers.setdefault(configuration_of(trial.params), trial.number)
        best = [params for params in Surface(self.tuned, trainings).ranked() if configuration_of(params) in numbers]
        best = [params for params in best if params != self.baseline]
        return {f"trial {numbers[configuration_of(params)]}": params for params in best[:FINALISTS]}

    def _scored(self, trials: Sequence[FrozenTrial]) -> list[Scored]:
        """The trainings that settings are chosen by."""
        of_space = [trial for trial in trials if self._is_of_space(trial)]
        return scored(of_space, self.tuned, self.factors, self._judge_round)

    def _judges_of(self, number: int) -> int:
        """The judge_round of a round: the next one that can judge, or the study's own people if none can."""
        numbers = (judges for judges in range(1, number + MORE_JUDGES) if judges != self._judge_round)
        able = list(itertools.islice(filter(self._can_judge, numbers), number))
        return able[(number - 1) % len(able)] if able else self._judge_round

    def _scientific(self, arm: Arm, number: int, place: int) -> dict[str, Any]:
        """The scientific parameters of an arm: the baseline's, but for the level that it differs in."""
        rng = np.random.default_rng([self.seed, number, place, ROUND_STREAM])
        return {
            factor.param: self._draw(factor, level, rng) if level != own else self.baseline[factor.param]
            for factor, level, own in zip(self.factors, arm.levels, self.arms[0].levels, strict=True)
        }

    def search(self, trials: Sequence[FrozenTrial], draft: Draft | None = None) -> Proposal:
        """The next trial of the search of a study with these trials; ``draft`` and errors as in ``propose``."""
        draft = draft or Draft(trials)
        rng = np.random.default_rng([self.seed, len(trials)])
        tried = [trial for trial in trials if self._is_of_space(trial) and not is_replicate(trial)]
        tried = [trial for trial in tried if not round_of(trial)]
        levels = self._next_levels(tried, rng)
        scientific = {
            factor.param: self._draw(factor, level, rng) for factor, level in zip(self.factors, levels, strict=True)
        }
        nuisance = self._nuisance(levels, tried, trials, rng, draft)
        return self._reseeded_if_run(Proposal({**scientific, **nuisance.params}, nuisance.attributes), trials)

    def _next_levels(self, tried: Sequence[FrozenTrial], rng: np.random.Generator) -> Levels:
        """The levels whose turn it is; failed trials do not count, nor those of round 0, which has every level."""
        taken = [self._levels(trial) for trial in tried if trial.state != TrialState.FAIL and round_of(trial) is None]
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
        self,
        levels: Levels,
        tried: Sequence[FrozenTrial],
        trials: Sequence[FrozenTrial],
        rng: np.random.Generator,
        draft: Draft,
    ) -> Proposal:
        """The nuisance parameters that go with these levels: a start, then a Sobol point, then the sampler's."""
        if not self.tuned:
            return Proposal({})
        turn = self._turn(levels, tried)
        if turn < len(self.starts):
            return self.starts[turn]
        history = [trial for trial in trials if trial.state != TrialState.FAIL and self._is_of_space(trial)]
        history = [trial for trial in history if not round_of(trial)]  # others judge the later rounds
        if sum(trial.state.is_finished() for trial in history) < STARTUP_TRIALS:
            draft.check_is_loaded("scipy.stats")
            return Proposal(sobol(self.tuned, turn - len(self.starts), self.seed))

        def sample() -> dict[str, Any]:
            offsets = level_offsets([self._levels(trial) for trial in history], history)
            seed = int(np.random.SeedSequence([self.seed, len(trials), *draft.entropy]).generate_state(1)[0])
            sampler = make_sampler(self.sampler, seed, len(history))
            return ask_sampler(sampler, self.tuned, history, offsets, rng)

        params = draft.part(SAMPLED, sample, len(trials))  # the same for every level
        draft.check_is_new(params, trials)
        return Proposal(params)

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

    def _is_of_space(self, trial: FrozenTrial) -> bool:
        return self.distributions.keys() <= trial.params.keys()

    def _levels(self, trial: FrozenTrial) -> Levels:
        return tuple(factor.level(trial.params) for factor in self.factors)

    def should_continue(self, study: optuna.Study, trial: FrozenTrial, planned_evaluations: int) -> bool:
        """Whether a trial that has just reported should continue.

        With scientific factors it is compared with the trials of its own level, and stops only if it is not good
        enough at any of its levels: the answer judges levels, not the pruner. The trainings of rounds always continue,
        as the answer is computed from them.
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
            if not round_of(other)  # others judge the later rounds
        ]
        curve, pruner = trial.intermediate_values, self.pruner
        curve_groups = ([peer.intermediate_values for peer in peers] for peers in self._peer_groups(trial, others))
        return any(pruner.should_continue(curve, curves, planned_evaluations) for curves in curve_groups)

    def may_stop_at(self, evaluation: int, planned_evaluations: int) -> bool:
        """Whether ``should_continue`` may say no of some trial after this evaluation: at others nobody need ask."""
        return isinstance(self.pruner, BasePruner) or evaluation in self.pruner.rungs(planned_evaluations)

    def is_never_pruned(self, trial: FrozenTrial) -> bool:
        """Whether the trial's own value is needed, whatever it is."""
        return round_of(trial) is not None or is_baseline(trial) or is_replicate(trial)

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
