"""From a study's stored trials to its answer: each level at its best, compared on the same people."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import Estimate, compare, compare_recipes, interval, select
from maskcls.scoring.resampling import Resamples, resample
from search.answer.answer import Answer, Comparison, FactorAnswer, Level, Winner
from search.answer.confirmation import read_confirmation
from search.answer.wording import put_in_words
from search.policy.history import best_trial, configuration_of, runs_by_configuration, seed_noise, values_of_runs
from search.policy.policy import is_replicate
from search.policy.stopping import FINISHED
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions
from search.study.attributes import baseline_among
from search.study.record import Stored
from search.study.space import Factor, factors, params_of, values_of


def answer_of(study: optuna.Study, stored: Stored, runs: Path) -> Answer:
    """What the study says so far; ``runs`` is the folder where its trials' predictions lie. Needs no GPU, no torch."""
    config = stored.baseline_config
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    evidence = Evidence(stored, trials, StudyPredictions(study_folder(study, runs), config.task))
    found = factors(stored.study.scientific)
    comparisons = sum(len(factor.levels) - 1 for factor in found)
    return put_in_words(
        Answer(
            question=stored.study.question,
            verdict="",
            sentences=(),
            caveats=(),
            factors=tuple(evidence.levels_of(factor, comparisons) for factor in found),
            winner=evidence.winner(),
            noise=seed_noise(trials),
            people=evidence.num_people,
            confirmation=read_confirmation(study),
            left_out=evidence.left_out,
            foreign=tuple(number for number in evidence.left_out if number in evidence.shelf.foreign),
        ),
        stored,
    )


@dataclass
class Evidence:
    """A study's finished trials with their stored predictions."""

    stored: Stored
    trials: Sequence[FrozenTrial]
    shelf: StudyPredictions

    @cached_property
    def known(self) -> list[FrozenTrial]:
        """Complete trials, whether their predictions are there or not."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE and trial.value is not None]

    @cached_property
    def complete(self) -> list[FrozenTrial]:
        """Complete trials whose predictions are there; the others can say nothing of people."""
        return self.shelf.with_predictions(self.known)

    @property
    def left_out(self) -> tuple[int, ...]:
        """Numbers of the complete trials whose predictions are not there."""
        there = {trial.number for trial in self.complete}
        return tuple(trial.number for trial in self.known if trial.number not in there)

    @cached_property
    def resamples(self) -> Resamples:
        """Of the validation people, the same for everything that is said of them."""
        return resample(self.shelf.counts(self.complete[0]))

    @property
    def num_people(self) -> int:
        """Validation people; 0 while nothing is stored."""
        return len(self.resamples.person_P) if self.complete else 0

    @cached_property
    def configurations(self) -> list[list[FrozenTrial]]:
        """The runs of each setting."""
        return list(runs_by_configuration(self.complete).values())

    def levels_of(self, factor: Factor, comparisons: int) -> FactorAnswer:
        """Every level at its best; ``comparisons``: how many the study makes, which widens each interval."""
        reference = factor.level(params_of(self.stored.study.space, self.stored.study.baseline))
        known = [self._best_of(factor, index) for index in range(len(factor.levels))]
        best = [self.shelf.with_predictions(runs) for runs in known]
        levels = []
        for index, runs in enumerate(best):
            against = None
            if runs and best[reference] and index != reference:
                names = (factor.describe(index), factor.describe(reference))
                against = self.compare(runs, best[reference], names, comparisons)
            left_out = () if runs else tuple(run.number for run in known[index])
            levels.append(replace(self._level(factor, index, runs, against), left_out=left_out))
        return FactorAnswer(factor.param, tuple(levels), reference)

    def _best_of(self, factor: Factor, index: int) -> list[FrozenTrial]:
        """The runs of the level's setting with the best mean, the earliest of equals; empty without any.

        Predictions or not: a level is never judged by a lesser setting because those of its best are missing.
        """
        here = [runs for runs in runs_by_configuration(self.known).values() if factor.level(runs[0].params) == index]
        return max(here, key=lambda runs: (fmean(values_of_runs(runs)), -runs[0].number), default=[])

    def _level(self, factor: Factor, index: int, runs: list[FrozenTrial], against: Comparison | None) -> Level:
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
        )

    def _counts(self, runs: Sequence[FrozenTrial]) -> list[Counts]:
        return [self.shelf.counts(run) for run in runs]

    def compare(
        self,
        ours: Sequence[FrozenTrial],
        theirs: Sequence[FrozenTrial],
        names: tuple[str, str],
        comparisons: int = 1,
    ) -> Comparison:
        """The runs of one setting less those of another: the recipes when both have run twice, else the models."""
        mine, other = self._counts(ours), self._counts(theirs)
        runs = (len(ours), len(theirs))
        with_seeds = self._with_seeds(ours, theirs, comparisons)
        if min(runs) > 1 and with_seeds is not None:
            return Comparison(*names, with_seeds, "recipes", runs)
        models = compare(mine, other, self.resamples, comparisons=comparisons)
        return Comparison(*names, models, "models", runs, with_seeds)

    def _with_seeds(
        self, ours: Sequence[FrozenTrial], theirs: Sequence[FrozenTrial], comparisons: int
    ) -> Estimate | None:
        """The comparison of the recipes, the spread from seed to seed taken from every setting that ran twice."""
        mine = {configuration_of(ours[0].params), configuration_of(theirs[0].params)}
        others = [self._counts(runs) for runs in self.configurations if configuration_of(runs[0].params) not in mine]
        repeated = [runs for runs in others if len(runs) > 1]
        if not repeated and max(len(ours), len(theirs)) < 2:
            return None
        return compare_recipes(
            self._counts(ours), self._counts(theirs), self.resamples, comparisons=comparisons, others=repeated
        )

    def winner(self) -> Winner | None:
        """The best trial with its score corrected for being chosen; None while none is complete."""
        best = best_trial(self.complete)
        if best is None:
            return None
        candidates = [self.shelf.counts(trial) for trial in self.complete]
        return Winner(
            trial=best.number,
            values=values_of(self.stored.study.space, best.params),
            score=interval(self.shelf.counts(best), self.resamples),
            corrected=select(candidates, self.resamples).corrected,
            candidates=len(candidates),
            against_baseline=self._against_baseline(best),
        )

    def _against_baseline(self, best: FrozenTrial) -> Comparison | None:
        baseline = baseline_among(self.complete)
        if baseline is None or configuration_of(baseline.params) == configuration_of(best.params):
            return None
        runs = runs_by_configuration(self.complete)
        ours, theirs = runs[configuration_of(best.params)], runs[configuration_of(baseline.params)]
        return self.compare(ours, theirs, (f"trial {best.number}", "the baseline"))
