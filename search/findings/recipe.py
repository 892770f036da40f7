"""The recipe to export from a study: that with the best score to expect on other groups, or a trial's by its number.

It is that of the rounds' best side; in a study without rounds the confirmed winner's, else the best trial's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig, config_to_toml, make_config
from maskcls.system.errors import UserError, count_of
from maskcls.tasks.task import Task
from search.answer.answer import Confirmation, Side, answering_of
from search.answer.confirmation import read_confirmation
from search.answer.rounds import both_answers, model_of, score_to_expect
from search.findings.final_test import words_of_test
from search.policy.history import best_trial
from search.policy.rounds import exemplar_of
from search.policy.stopping import FINISHED
from search.storage.final_test import FinalTest, read_test
from search.storage.folder import study_folder
from search.storage.predictions import study_predictions
from search.study.attributes import CONFIG, ORIGIN, judged_by_study
from search.study.record import Stored, read_search, read_stored
from search.study.request import photo_options
from search.system.shell import quoted, runs_option


@dataclass(frozen=True)
class Recipe:
    """A trial to export, as a config and its origin."""

    study: str
    """Stored name."""
    stored: Stored
    trial: FrozenTrial
    confirmation: Confirmation | None = None
    """The confirmation that chose the trial; None if it is the best of the search or was requested by number."""
    side: Side | None = None
    """The side of the rounds that it stands for; None if the rounds did not choose it."""
    test: FinalTest | None = None
    """The study's test, maybe of another trial; None before it was scored."""
    expected: float | None = None
    """The score to expect of the side; None if the rounds did not choose the trial."""

    @property
    def config(self) -> TrainConfig:
        """The config that the trial ran, numerics resolved."""
        return make_config(self.trial.user_attrs[CONFIG])

    @property
    def origin(self) -> dict[str, Any]:
        """Plain values of the config file's [origin]: what made the trial, its value, and what confirmed it."""
        origin = {**self.trial.user_attrs[ORIGIN], "value": self.trial.value, "state": self.trial.state.name.lower()}
        if self.stored.weights.get("source") == "scratch":
            origin["weights_option"] = "scratch"  # on another machine auto might find weights
        if self.side is not None:
            origin["level"] = self.side.name
            origin[f"expected_{self.stored.task.metric}"] = self.expected
            origin["rounds_trainings"] = len(self.side.trials)
        if self.confirmation is not None:
            origin["confirmed_by"] = self.confirmation.study
            origin["confirmed_mean"] = fmean(self.confirmation.finalists[self.confirmation.winner].scores)
            origin["confirmed_repeats"] = self.confirmation.repeats
        if self.test is not None and self.test.trial == self.trial.number:
            origin["test_value"] = self.test.value
            origin["test_photos"] = self.test.photos
        return origin

    def to_toml(self) -> str:
        """The file for maskcls.train --config."""
        return config_to_toml(self.config, self.origin)

    def describe(self) -> str:
        """``trial 12 of dropout, macro F1 0.8123, seed 0, split 0123abcd``, and its result in the confirmation."""
        split = self.origin.get("split", self.stored.split)
        trial = f"trial {self.trial.number} of {self.study}, {self.stored.task.metric_words} {self.trial.value!r}"
        judges = f", judges of round {self.config.judge_round}" if self.config.judge_round else ""
        task = self.stored.task
        chosen = _confirmed(self.confirmation, task) if self.side is None else self._expected
        return f"{trial}, seed {self.config.seed}, split {split}{judges}{chosen}{self._tested}"

    @property
    def _expected(self) -> str:
        """The score to expect of the rounds' best side, to follow the trial's own."""
        assert self.side is not None
        words, trainings = self.stored.task.metric_words, count_of(len(self.side.trials), "training")
        return f"; {self.side.name} has the best mean of the rounds, expect {words} {self.expected:.4f} ({trainings})"

    @property
    def _tested(self) -> str:
        """The result of the test, or that it was spent on another trial, to follow the rest; empty before."""
        if self.test is None:
            return ""
        if self.test.trial == self.trial.number:
            return f"; test, scored once: {words_of_test(self.test, self.stored.task)}"
        return f"; the test was spent on trial {self.test.trial}, so a new one needs new photos"

    def training_command(self, file: Path, runs: Path, name: str = "best") -> str:
        """The command that trains it again from ``file``, into the folder ``name`` of ``runs``."""
        options = photo_options(self.stored.label_fixes, self.stored.skip_unreadable) + runs_option(runs)
        place = f"--data {quoted(self.stored.data)} -o {quoted(runs / name)}"
        return f"python -m maskcls.train --config {quoted(file)} {place}{options}"


def _confirmed(confirmation: Confirmation | None, task: Task) -> str:
    """The winner's result in the confirmation, to follow that of the search; empty without a confirmation."""
    if confirmation is None:
        return ""
    winner = confirmation.finalists[confirmation.winner]
    verdict = winner.against.verdict if winner.against is not None else ""
    versus = {"better": ", better than the baseline", "": ""}.get(verdict, f", {verdict} from the baseline")
    is_baseline = confirmation.winner == 0
    what = "the baseline, which no finalist beat" if is_baseline else f"{winner.name}, the best of the finalists"
    repeats = f"over {confirmation.repeats} repeats of {confirmation.study}"
    return f"; {what} {repeats}: mean {task.short_metric} {fmean(winner.scores):.4f}{versus}"


def find_recipe(study: optuna.Study, number: int | None, runs: Path) -> Recipe:
    """The recipe of trial ``number``; for None, the one with the best score to expect.

    Raises UserError when there is no such finished trial, and when its files are another trial's.
    """
    stored = read_search(study) if number is None else read_stored(study)
    trials = study.get_trials(deepcopy=False)
    side = _best_side(study, stored) if number is None else None
    confirmation = read_confirmation(study) if number is None and side is None else None
    test, expected = read_test(study), None
    if side is not None:
        shelf = study_predictions(study, study_folder(study, runs))
        model, expected = model_of(side, trials, shelf, test), score_to_expect(side, trials, shelf)
        # without predictions here, by the database alone
        model = model or exemplar_of(trial for trial in trials if trial.number in side.trials)
        number = None if model is None else model.number
    requested = next((trial for trial in trials if trial.number == number), None)
    trial = _recommended(trials, confirmation) if number is None else requested
    is_finished = trial is not None and trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    if trial is None or not is_finished or CONFIG not in trial.user_attrs:
        which = "complete trial" if number is None else f"finished trial {number}"
        raise UserError(f"Study {study.study_name} has no {which} to export.")
    check_files(study, trial, runs)
    return Recipe(study.study_name, stored, trial, confirmation, side, test, expected)


def _best_side(study: optuna.Study, stored: Stored) -> Side | None:
    """The side with the best score to expect; None before the first look at the rounds."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    rounds = answering_of(*both_answers(study, stored, trials))
    if rounds is None or not rounds.looks or not rounds.sides[rounds.best].trials:
        return None
    return rounds.sides[rounds.best]


def _recommended(trials: Sequence[FrozenTrial], confirmation: Confirmation | None) -> FrozenTrial | None:
    """The best run of the confirmed winner's configuration; without a confirmation, the best trial."""
    if confirmation is None:
        return best_trial(judged_by_study(trials))
    winner = confirmation.finalists[confirmation.winner]
    best = best_trial(trial for trial in trials if trial.number in winner.trials)
    if best is None:
        raise UserError(
            f"{winner.name} has the best mean in the confirmation, but no complete trial in the search to export."
            f" Train a config.toml of its trials in {confirmation.study}, or name another trial with --trial."
        )
    return best


def check_files(study: optuna.Study, trial: FrozenTrial, runs: Path) -> None:
    """Raise UserError when the predictions in the trial's folder score another value than the database says."""
    shelf = study_predictions(study, study_folder(study, runs))
    if shelf.predictions(trial) is None and trial.number in shelf.foreign:
        raise UserError(f"{shelf.why_missing(trial)}. Give the --runs folder where the study ran, or another --trial.")
