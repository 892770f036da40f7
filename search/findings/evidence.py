"""From a study's stored trials to its answer: what the rounds say, and what the search found for each level."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import Estimate, compare, compare_recipes, interval, select
from maskcls.scoring.resampling import Resamples, resample
from search.answer.answer import Answer, Comparison, FactorAnswer, Level, RoundsAnswer, Winner, answering_of
from search.answer.confirmation import read_confirmation
from search.answer.rounds import both_answers, model_of, more_by_rounds, score_to_expect
from search.findings.final_test import sentences_of_test
from search.findings.wording import put_in_words
from search.policy.history import (
    Configuration,
    Runs,
    best_trial,
    configuration_of,
    ranked_configurations,
    runs_by_configuration,
    seed_noise,
)
from search.policy.own_best import levels_elsewhere
from search.policy.stopping import FINISHED
from search.storage.final_test import FinalTest, read_test
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions, predictions_of
from search.study.attributes import is_replicate, judged_by_study
from search.study.record import Stored
from search.study.space import Factor, factors, params_of, values_of


def answer_of(study: optuna.Study, stored: Stored, runs: Path) -> Answer:
    """What the study says so far, by its trials' predictions in the folder ``runs``. Needs no GPU and no torch."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    shelf = predictions_of(study, stored, study_folder(study, runs))
    evidence = Evidence(stored, judged_by_study(trials), shelf)
    compared = factors(stored.study.scientific)
    comparisons = sum(len(factor.levels) - 1 for factor in compared)
    rounds, own = both_answers(study, stored, trials, shelf)
    is_asked = rounds is not None and bool(rounds.looks) and (own is None or not own.looks)
    left_out = left_out_of(trials, shelf)
    test = read_test(study)
    winner = winner_of_rounds(stored, answering_of(rounds, own), trials, shelf, test) or evidence.winner()
    return put_in_words(
        Answer(
            task=stored.task,
            question=stored.study.question,
            verdict="",
            sentences=(),
            caveats=(),
            rounds=rounds,
            factors=tuple(evidence.levels_of(factor, comparisons) for factor in compared),
            winner=winner,
            noise=seed_noise(evidence.trials),
            confirmation=read_confirmation(study),
            more=more_by_rounds(comparisons, seed_noise(evidence.trials), trials),
            left_out=left_out,
            foreign=tuple(number for number in left_out if number in shelf.foreign),
            own=own,
            elsewhere=tuple(levels_elsewhere(stored.study, trials)) if is_asked else (),
            test=sentences_of_test(test, stored.task, winner.trial if winner else None),
        ),
        stored,
    )


def left_out_of(trials: Sequence[FrozenTrial], shelf: StudyPredictions) -> tuple[int, ...]:
    """Numbers of the complete trials that have no usable predictions."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    usable = {trial.number for trial in shelf.with_predictions(complete)}
    return tuple(trial.number for trial in complete if trial.number not in usable)


def winner_of_rounds(
    stored: Stored,
    rounds: RoundsAnswer | None,
    trials: Sequence[FrozenTrial],
    shelf: StudyPredictions,
    test: FinalTest | None,
) -> Winner | None:
    """The rounds' best side, by its best training with predictions; None before the first look, or without any."""
    if rounds is None or not rounds.looks:
        return None
    best = rounds.sides[rounds.best]
    trial, expected = model_of(best, trials, shelf, test), score_to_expect(best, trials, shelf)
    if trial is None or expected is None:
        return None
    counts = shelf.counts(trial)
    score = interval(counts, resample(counts))
    return Winner(trial.number, values_of(stored.study.space, trial.params), score, expected, candidates=0)


@dataclass
class Evidence:
    """The finished trials that the study's validation people judged, with their stored predictions."""

    stored: Stored
    trials: Sequence[FrozenTrial]
    shelf: StudyPredictions

    @cached_property
    def complete(self) -> list[FrozenTrial]:
        """The complete trials, with or without predictions."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE and trial.value is not None]

    @cached_property
    def usable(self) -> list[FrozenTrial]:
        """The complete trials that have predictions, without which nothing can be said about people."""
        return self.shelf.with_predictions(self.complete)

    @cached_property
    def resamples(self) -> Resamples:
        """Resamples of the validation people, the same for every estimate."""
        return resample(self.shelf.counts(self.usable[0]))

    @cached_property
    def usable_runs(self) -> dict[Configuration, Runs]:
        """The usable runs of every configuration."""
        return runs_by_configuration(self.usable)

    def levels_of(self, factor: Factor, comparisons: int) -> FactorAnswer:
        """Every level at its best; ``comparisons``: how many the study makes, which widens each interval."""
        reference = factor.level(params_of(self.stored.study.space, self.stored.study.baseline))
        best = [self._best_of(factor, index) for index in range(len(factor.levels))]
        usable = [self.shelf.with_predictions(runs) for runs in best]
        levels = []
        for index, runs in enumerate(usable):
            against = None
            if runs and usable[reference] and index != reference:
                names = (factor.describe(index), factor.describe(reference))
                against = self.compare(runs, usable[reference], names, comparisons)
            left_out = () if runs else tuple(run.number for run in best[index])
            levels.append(self._level(factor, index, runs, against, left_out))
        return FactorAnswer(factor.param, tuple(levels), reference)

    def _best_of(self, factor: Factor, index: int) -> Runs:
        """The runs of the level's configuration with the best mean, the earliest among equals; empty without any.

        Missing predictions do not count here: a lesser configuration must not speak for the level in their place.
        """
        ranked = ranked_configurations(self.complete).values()
        return next((runs for runs in ranked if factor.level(runs[0].params) == index), [])

    def _level(
        self, factor: Factor, index: int, runs: Runs, against: Comparison | None, left_out: tuple[int, ...]
    ) -> Level:
        tried = [trial for trial in self.trials if factor.level(trial.params) == index and not is_replicate(trial)]
        values = [trial.value for trial in tried if trial.state == TrialState.COMPLETE and trial.value is not None]
        return Level(
            text=factor.describe(index),
            complete=len(values),
            pruned=len(tried) - len(values),
            best=max(values, default=None),
            trials=tuple(run.number for run in runs),
            values=values_of(self.stored.study.space, runs[0].params) if runs else {},
            score=compare(self._counts(runs), (), self.resamples) if runs else None,
            against=against,
            left_out=left_out,
        )

    def _counts(self, runs: Runs) -> list[Counts]:
        return [self.shelf.counts(run) for run in runs]

    def compare(self, ours: Runs, theirs: Runs, names: tuple[str, str], comparisons: int = 1) -> Comparison:
        """The runs of one configuration less those of another: as recipes if both ran twice, else as models."""
        runs = (len(ours), len(theirs))
        with_seeds = self._with_seeds(ours, theirs, comparisons)
        if min(runs) > 1 and with_seeds is not None:
            return Comparison(*names, with_seeds, "recipes", runs)
        models = compare(self._counts(ours), self._counts(theirs), self.resamples, comparisons=comparisons)
        return Comparison(*names, models, "models", runs, with_seeds)

    def _with_seeds(self, ours: Runs, theirs: Runs, comparisons: int) -> Estimate | None:
        """The comparison of the recipes, by the spread between seeds in all repeated runs; None without any."""
        compared = {configuration_of(runs[0].params) for runs in (ours, theirs)}
        repeated = [
            self._counts(runs)
            for configuration, runs in self.usable_runs.items()
            if configuration not in compared and len(runs) > 1
        ]
        if not repeated and max(len(ours), len(theirs)) < 2:
            return None
        return compare_recipes(
            self._counts(ours), self._counts(theirs), self.resamples, comparisons=comparisons, others=repeated
        )

    def winner(self) -> Winner | None:
        """The best usable trial, with its score corrected for having been chosen; None while there is none."""
        best = best_trial(self.usable)
        if best is None:
            return None
        return Winner(
            trial=best.number,
            values=values_of(self.stored.study.space, best.params),
            score=interval(self.shelf.counts(best), self.resamples),
            expected=select(self._counts(self.usable), self.resamples).corrected,
            candidates=len(self.usable),
        )
