"""``outcome.py replay``: whole studies on recorded trainings, what each arm exports, promises and then gets.

Of the groups that a recording's models never saw, each study draws the validation groups, the crowds that judge rounds
and the groups held out from everybody, in the sizes that a real study of the trained groups would have. A proposal is
mapped to the nearest recorded configuration that was tried least often. All arms may spend the same trainings.

- **best_trial**: Optuna's TPE with its MedianPruner; exports best_trial and promises its value.
- **ours**: the product's policy, pruning, rounds and looks; exports and promises what its answer says.

The standard errors are over studies that share a recording: they are of these trainings, in other orders, with other
seeds of theirs and on other groups. What is not in it: best_trial is judged by groups here, as ours is, although most
scripts split photos; what such a split adds to its promise shows in ``outcome.py live``. A round's models are trained
on the groups that the search's were. With two seeds a third training of a configuration is its first one again, with
other judges.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import outcome_recording
from numpy.typing import NDArray
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState, create_trial
from outcome_data import by_stratum
from outcome_recording import DEFAULT, Key, Recording
from outcome_study import space_of
from replay import Params, Stock

from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import select
from maskcls.scoring.judges import Judges, Training
from maskcls.scoring.resampling import resample
from maskcls.scoring.rounds import Look, expected_score
from maskcls.system.console import say
from maskcls.system.errors import UserError
from search.answer.rounds import answer_of_rounds
from search.policy.policy import Policy
from search.policy.portfolio import to_point
from search.policy.rounds import exemplar_of
from search.policy.stopping import FINISHED, StoppingCriteria
from search.storage.looks import is_look_due, next_look
from search.study.attributes import JUDGE_ROUND, LEVEL, ROUND, judged_by_study, round_of
from search.study.record import Stored
from search.study.space import distributions, params_of
from search.study.study import Study

VALID_SHARE = 0.2
"""The product's: a quarter as many validation groups as trained ones, and a fifth as many judges a round."""

FOLDS = round(1 / VALID_SHARE)
"""Crowds of judges before the first judges again (split.choose_judges)."""

SEARCHED_BY_STUDY = 0
"""Number of the crowd that judges the search: the validation groups."""

UNLIMITED = 10_000
"""Trials; the epochs end a study."""


@dataclass(frozen=True)
class Export:
    """What an arm recommends in the end."""

    configuration: int
    promised: float
    """The score that it says to expect on other groups."""
    realised: float
    """Of the exported model, on the groups held out from everybody."""
    spent: float
    """In full trainings."""


@dataclass(frozen=True)
class Replayed:
    """One study of every arm."""

    exports: Mapping[str, Export]
    default: float
    """The default configuration on the groups held out: mean of its trainings."""
    recipes: Mapping[str, float]
    """The same of the configuration that each arm exports."""


class World:
    """Recorded trainings, with the crowds of one study."""

    name = "recorded"

    def __init__(self, recording: Recording, split: int, seeds: int, rng: np.random.Generator) -> None:
        """``seeds``: how many trainings of every configuration are there. Raises UserError for too few groups."""
        self.recording, self.split, self.seeds = recording, split, seeds
        setup = recording.setup
        self.space = space_of(setup.backbones)
        self.baseline = setup.configurations[DEFAULT]
        self.distributions = distributions(self.space)
        self.planned_evaluations = setup.evaluations
        self.params_C = [params_of(self.space, values) for values in setup.configurations]
        self._point_CD = np.array([to_point(params, self.distributions) for params in self.params_C])
        self._number = {self._key(params): number for number, params in enumerate(self.params_C)}
        self._first_C = rng.integers(seeds, size=len(self.params_C))
        self._weight_P = self._crowds(rng)

    def _crowds(self, rng: np.random.Generator) -> list[NDArray[np.float64]]:
        """The weights of all groups in every crowd: validation, FOLDS crowds of judges, held out from everybody.

        As many groups as a study of the trained ones has are divided as it would (split.choose_judges): sorted by
        their labels, every fifth one validates, and every fifth other one judges in the same crowd. So a class is in
        each crowd as far as it has groups.
        """
        judges = self.recording.setup.splits[self.split]
        names = np.unique(judges.group_N)
        known = round(judges.trained_groups / (1 - VALID_SHARE))
        if known + known // FOLDS > len(names):
            raise UserError(
                f"The recording of {self.recording.setup.name} has {len(names)} groups to judge models that"
                f" {judges.trained_groups} trained, too few: record with a smaller --trained-share."
            )
        ordered = np.array(by_stratum(np.array(judges.group_N), np.array(judges.label_N), rng))
        is_known = np.zeros(len(ordered), dtype=bool)
        is_known[((rng.random() + np.arange(known)) * len(ordered) / known).astype(int)] = True
        is_valid = np.arange(known) % FOLDS == rng.integers(FOLDS)
        others = ordered[is_known][~is_valid]
        crowds = [ordered[is_known][is_valid], *(others[fold::FOLDS] for fold in range(FOLDS)), ordered[~is_known]]
        return [np.isin(names, crowd).astype(np.float64) for crowd in crowds]

    def _key(self, params: Params) -> tuple[Any, ...]:
        return tuple(params[name] for name in self.distributions)

    def number(self, params: Params) -> int:
        """Of the recorded configuration with these parameters."""
        return self._number[self._key(params)]

    def nearest(self, params: Params, tried: Sequence[Params]) -> Params:
        """The nearest of the configurations that were tried least often."""
        times_C = np.zeros(len(self.params_C))
        np.add.at(times_C, [self.number(other) for other in tried], 1)
        gap_CD = np.minimum(np.abs(self._point_CD - to_point(params, self.distributions)), 1.0)
        return self.params_C[int(np.lexsort((gap_CD.sum(1), times_C))[0])]

    def training(self, params: Params, earlier: int) -> Key:
        """The training of a configuration that was trained so often before."""
        number = self.number(params)
        return self.split, number, int(self._first_C[number] + earlier) % self.seeds

    def score(self, key: Key, evaluation: int, crowd: int) -> float:
        """What a crowd gives a training at an evaluation, counted from 1."""
        counts = self.recording.counts(key, evaluation)
        return float(counts.score(*counts.sums(self._weight_P[crowd][None]))[0])

    def counts(self, key: Key, evaluation: int, crowd: int) -> Counts:
        """The same, group by group."""
        return self.recording.counts(key, evaluation).of_people(self._weight_P[crowd] > 0)

    def curve(self, key: Key, crowd: int) -> dict[int, float]:
        """Evaluation, from 1 -> score; shorter if the training diverged."""
        return {step: self.score(key, step, crowd) for step in range(1, self.recording.length(key) + 1)}

    def held_out(self, key: Key, evaluation: int) -> float:
        """On the groups that are held out from everybody."""
        return self.score(key, evaluation, FOLDS + 1)

    def recipe(self, number: int) -> float:
        """A configuration's trainings at their ends, on the groups held out: mean; 0 for one that diverged at once."""
        keys = [(self.split, number, seed) for seed in range(self.seeds)]
        lengths = [self.recording.length(key) for key in keys]
        return float(np.mean([self.held_out(key, at) if at else 0.0 for key, at in zip(keys, lengths, strict=True)]))


class BestTrial:
    """The script that people write: TPE, MedianPruner, best_trial."""

    def __init__(self, world: World, budget: float, seed: int) -> None:
        self.world, self.budget = world, budget
        self.player = Stock(world, seed, (), MedianPruner())  # type: ignore[arg-type]
        self.study = self.player.study
        self.trained: dict[int, Key] = {}

    def begin(self) -> tuple[int, Key, int] | None:
        """(trial, training, crowd that judges it); None once the budget is spent."""
        trials = self.study.get_trials(deepcopy=False)
        if sum(len(trial.intermediate_values) for trial in trials) >= self.budget * self.world.planned_evaluations:
            return None
        number = self.player.ask()
        params = self.study.get_trials(deepcopy=False)[number].params
        self.trained[number] = self.world.training(params, [trial.params for trial in trials].count(params))
        return number, self.trained[number], SEARCHED_BY_STUDY

    def should_continue(self, trial: FrozenTrial) -> bool:
        """By the pruner."""
        return self.player.should_continue(trial)

    def end(self, trial: FrozenTrial, state: TrialState) -> None:
        """With the best value, as the objective returns it."""
        self.player.tell(trial, state, max(trial.intermediate_values.values(), default=None))

    def promise(self) -> tuple[int, float]:
        """(trial, score)."""
        return self.study.best_trial.number, float(self.study.best_value)


class Ours:
    """The product's policy, rounds, looks and answer."""

    def __init__(self, world: World, budget: float, seed: int) -> None:
        self.world = world
        fixed = {"epochs": world.planned_evaluations, "backbone": world.recording.setup.fixed["backbone"]}
        fixed = {name: value for name, value in fixed.items() if name not in world.space}
        searched = Study("What is the best recipe?", nuisance=world.space, fixed=fixed, baseline=world.baseline)
        self.stored = Stored(searched, "", "", {}, "scratch", "auto", False, seed)
        self.policy = Policy(searched, seed)
        self.limits = StoppingCriteria(UNLIMITED, max_epochs=budget * world.planned_evaluations)
        self.study = optuna.create_study(direction="maximize")
        self.judges, self.looks = Judges(), list[Look]()
        self.trained: dict[int, Key] = {}

    def _closed(self) -> frozenset[str]:
        return frozenset(name for look in self.looks for name in look.decided)

    def begin(self) -> tuple[int, Key, int] | None:
        """(trial, training, crowd that judges it); None once a limit is reached or all is decided."""
        trials = self.study.get_trials(deepcopy=False)
        if self.policy.reached(self.limits, trials, self._closed()):
            return None
        proposal = self.policy.propose(trials, self.limits, self._closed())
        before = [trial.params for trial in trials]
        is_round = ROUND in proposal.attributes
        params = dict(proposal.params if is_round else self.world.nearest(proposal.params, before))
        trial = create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions=self.policy.distributions,
            user_attrs=proposal.attributes,
        )
        self.study.add_trial(trial)
        self.trained[len(trials)] = self.world.training(params, before.count(params))
        return len(trials), self.trained[len(trials)], _crowd_of(trial)

    def should_continue(self, trial: FrozenTrial) -> bool:
        """By the policy."""
        return self.policy.should_continue(self.study, trial, self.world.planned_evaluations)

    def end(self, trial: FrozenTrial, state: TrialState) -> None:
        """As search.storage.outcomes does: a trial of the search has its best value, one of a round its last."""
        step = kept_evaluation(trial)
        value = None if step is None else [trial.intermediate_values[step]]
        self.study._storage.set_trial_state_values(trial._trial_id, state, value)
        trials = self.study.get_trials(deepcopy=False)
        if is_look_due(self.policy, trials, self.looks):
            trainings = self._trainings(trials)
            if len({training.round for training in trainings}) > 1:
                matters = self.stored.study.matters
                facts = (self.policy, trials, trainings, self.limits, self.looks, matters, self.judges)
                self.looks.append(next_look(*facts))

    def _trainings(self, trials: Sequence[FrozenTrial]) -> list[Training]:
        """Those of the complete rounds."""
        complete = set(self.policy.rounds(trials).complete())
        return [
            self._training(trial)
            for trial in trials
            if round_of(trial) in complete and trial.state == TrialState.COMPLETE
        ]

    def _training(self, trial: FrozenTrial) -> Training:
        counts = self.world.counts(self.trained[trial.number], self.world.planned_evaluations, _crowd_of(trial))
        return Training(trial.user_attrs[LEVEL], round_of(trial) or 0, counts)

    def promise(self) -> tuple[int, float]:
        """(trial, score): of the best side of the rounds, else of the best trial, as find_recipe and Evidence do."""
        trials = self.study.get_trials(deepcopy=False, states=FINISHED)
        rounds = answer_of_rounds(self.stored, trials, self.looks)
        side = rounds.sides[rounds.best] if rounds is not None and rounds.looks else None
        chosen = None if side is None else exemplar_of(trial for trial in trials if trial.number in side.trials)
        if side is not None and chosen is not None and side.score is not None:
            scored = [self._training(trial) for trial in trials if trial.number in side.scored]
            return chosen.number, expected_score(side.score, scored)
        complete = [trial for trial in judged_by_study(trials) if trial.state == TrialState.COMPLETE]
        counts = [
            self.world.counts(self.trained[trial.number], kept_evaluation(trial) or 1, SEARCHED_BY_STUDY)
            for trial in complete
        ]
        selected = select(counts, resample(counts[0]))
        return complete[selected.index].number, selected.corrected


def _crowd_of(trial: FrozenTrial) -> int:
    """Number of the crowd that judges a trial."""
    judges = trial.user_attrs.get(JUDGE_ROUND, 0)
    return SEARCHED_BY_STUDY if judges == 0 else 1 + (judges - 1) % FOLDS


def kept_evaluation(trial: FrozenTrial) -> int | None:
    """The evaluation whose weights are kept: the best, or of a round's training the last; None without any."""
    values = trial.intermediate_values
    if round_of(trial) and values:
        return max(values)
    return max(values, key=lambda step: (values[step], -step), default=None)


ARMS: dict[str, Callable[[World, float, int], BestTrial | Ours]] = {"best_trial": BestTrial, "ours": Ours}


def run_study(world: World, arm: BestTrial | Ours) -> Export:
    """One study of one arm."""
    while (begun := arm.begin()) is not None:
        number, key, crowd = begun
        state = TrialState.PRUNED
        for step, score in world.curve(key, crowd).items():
            trial = arm.study.get_trials(deepcopy=False)[number]
            arm.study._storage.set_trial_intermediate_value(trial._trial_id, step, score)
            trial = arm.study.get_trials(deepcopy=False)[number]
            if step == world.planned_evaluations:
                state = TrialState.COMPLETE
            elif not (round_of(trial) or arm.should_continue(trial)):
                break
        arm.end(arm.study.get_trials(deepcopy=False)[number], state)
    number, promised = arm.promise()
    trials = arm.study.get_trials(deepcopy=False)
    key = arm.trained[number]
    spent = sum(len(trial.intermediate_values) for trial in trials) / world.planned_evaluations
    return Export(key[1], promised, world.held_out(key, kept_evaluation(trials[number]) or 1), spent)


def replay_once(recording: Recording, seeds: int, budget: float, seed: int) -> Replayed:
    """A study of every arm, in the same world."""
    split = seed % len(recording.setup.splits)
    exports = {}
    for name, make in ARMS.items():
        world = World(recording, split, seeds, np.random.default_rng([18, seed]))
        exports[name] = run_study(world, make(world, budget, seed))
    recipes = {name: world.recipe(export.configuration) for name, export in exports.items()}
    return Replayed(exports, world.recipe(DEFAULT), recipes)


def seeds_recorded(recording: Recording) -> int:
    """How many trainings of every configuration and split are there. Raises UserError for fewer than two."""
    seeds = [seed for seed in range(recording.setup.seeds) if _is_complete(recording, seed)]
    if len(seeds) < 2:
        raise UserError(
            f"The recording of {recording.setup.name} is not complete: rounds train every configuration with another"
            " seed. Give the command `outcome.py record` again; it goes on."
        )
    return len(seeds)


def _is_complete(recording: Recording, seed: int) -> bool:
    return all(key in recording.said for key in recording.setup.trainings() if key[2] == seed)


def table_of(name: str, studies: Sequence[Replayed]) -> str:
    """Markdown: a row for every arm, means with standard errors over the studies."""
    lines = [f"### {name}, {len(studies)} studies", "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for arm in ARMS:
        exports = [study.exports[arm] for study in studies]
        realised = np.array([export.realised for export in exports])
        optimism = np.array([export.promised for export in exports]) - realised
        gain = np.array([study.recipes[arm] - study.default for study in studies])
        cells = [
            arm,
            f"{np.mean([export.spent for export in exports]):.1f}",
            _mean(realised),
            _mean(optimism, sign=True),
            f"{np.abs(optimism).mean():.3f}",
            _mean(gain, sign=True),
            _share(gain < -1e-9),
            _share(gain < -0.01),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    default = np.array([study.default for study in studies])
    return "\n".join([*lines, "", f"The default configuration realises {_mean(default)}."])


COLUMNS = (
    *("arm", "trainings", "realised", "promised less realised", "the same, absolute", "recipe less default"),
    *("worse than default", "worse by .01"),
)


def _mean(values: NDArray[np.float64], sign: bool = False) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():{'+' if sign else ''}.4f} ± {error:.4f}"


def _share(hits: NDArray[np.bool_]) -> str:
    share = float(hits.mean())
    return f"{100 * share:.1f} % ± {100 * np.sqrt(share * (1 - share) / len(hits)):.1f}"


def replay(asked: argparse.Namespace) -> None:
    """A table for every recording, as soon as it is known."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    for file in asked.recordings:
        recording = outcome_recording.load(file)
        seeds = seeds_recorded(recording)
        studies = [replay_once(recording, seeds, asked.budget, asked.seed + number) for number in range(asked.n)]
        say(table_of(recording.setup.name, studies))
