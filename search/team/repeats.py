"""What the judges of each repeat say of a team beside the best single model, and the looks at their difference.

All that was trained is a trial of the confirmation with stored predictions. In a repeat the same people judge all: the
team by the mean of its members' probabilities, and the single model, by the same training if it is a member too.

Shape suffixes: N photos, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.model.ensemble import mean_log_prob
from maskcls.scoring.counts import count
from maskcls.scoring.intervals import Variance
from maskcls.scoring.judges import Training
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.rounds import Look, look
from maskcls.system.errors import UserError
from search.policy import confirmation
from search.policy.confirmation import SINGLE, TEAM, Plan, training_of
from search.storage.folder import study_folder
from search.storage.looks import read_looks
from search.storage.outcomes import decide_in_turn
from search.storage.predictions import StudyPredictions, predictions_of
from search.study.attributes import LOOKS
from search.study.record import Stored

MIN_REPEATS = 2
"""One repeat says nothing about the spread between repeats."""

NO_TUNING = Variance(0.0, 30.0)
"""A team and a single model are compared as they were chosen, settings included: no luck of a setting is left out."""


@dataclass(frozen=True)
class TeamOutcome:
    """What is known of a team after its whole repeats."""

    look: Look
    """The last one at the team less the single model."""
    trainings: Sequence[Training]
    """Team and single model in each whole repeat, the earliest repeat first."""

    def scores(self, name: str) -> tuple[float, ...]:
        """The scores of TEAM or SINGLE, repeat by repeat."""
        counts = (training.counts for training in self.trainings if training.level == name)
        return tuple(float(each.score(*each.sums())) for each in counts)

    @property
    def judges(self) -> int:
        """How many people (groups) judged in any repeat."""
        return len({person for training in self.trainings for person in training.counts.person_P.tolist()})


def outcome_of_team(study: optuna.Study, stored: Stored, runs: Path) -> TeamOutcome | None:
    """The outcome of a team's confirmation so far; None before two repeats are whole. Stores the look that is due.

    A look is due when more repeats are whole than at the last one, so that whoever reads the outcome again spends no
    error rate. Raises UserError when a training diverged, and when predictions are not in ``runs``.
    """
    plan = Plan.of_document(stored)
    trials = study.get_trials(deepcopy=False)
    _check_none_diverged(plan, trials)
    repeats = whole_repeats(plan, trials)
    if len(repeats) < MIN_REPEATS:
        return None
    trainings = judged(plan, repeats, predictions_of(study, stored, study_folder(study, runs)), stored)
    return TeamOutcome(_last_look(study, stored, plan, trainings), trainings)


def is_team_decided(study: optuna.Study) -> bool:
    """Whether the last look at the team's confirmation decided, so that it needs no more trainings."""
    looks = read_looks(study)
    return bool(looks) and TEAM in looks[-1].decided


def whole_repeats(plan: Plan, trials: Sequence[FrozenTrial]) -> dict[int, tuple[FrozenTrial, ...]]:
    """Repeat -> its trainings in the plan's order, for the repeats in which all are complete."""
    complete = {training_of(trial): trial for trial in trials if trial.state == TrialState.COMPLETE}
    repeats = sorted({training.repeat for training in complete if training is not None})
    found = {}
    for repeat in repeats:
        own = [complete.get(confirmation.Training(repeat, index)) for index in range(len(plan.finalists))]
        whole = tuple(trial for trial in own if trial is not None)
        if len(whole) == len(own):
            found[repeat] = whole
    return found


def judged(
    plan: Plan, repeats: Mapping[int, Sequence[FrozenTrial]], shelf: StudyPredictions, stored: Stored
) -> list[Training]:
    """Team and single model in each repeat, as its judges see them. Raises UserError where predictions are missing."""
    shelf.with_predictions(trial for trials in repeats.values() for trial in trials)  # read together
    trainings = []
    for repeat, trials in repeats.items():
        said = _of_same_photos(shelf, trials)
        members = [(each.log_prob_NK, weight) for each, weight in zip(said, plan.weights, strict=True) if weight]
        team_NK = mean_log_prob(*map(list, zip(*members, strict=True)))
        for name, log_prob_NK in ((TEAM, team_NK), (SINGLE, said[0].log_prob_NK)):
            predicted_N, metric = log_prob_NK.argmax(1), stored.task.metric
            counts = count(said[0].person_N, said[0].label_N, predicted_N, stored.space, metric=metric)
            trainings.append(Training(name, repeat, counts))
    return trainings


def _of_same_photos(shelf: StudyPredictions, trials: Sequence[FrozenTrial]) -> list[Predictions]:
    """The predictions of the trainings of a repeat. Raises UserError unless all are of the same photos."""
    said = [_predictions(shelf, trial) for trial in trials]
    for trial, each in zip(trials, said, strict=True):
        if not np.array_equal(each.path_N, said[0].path_N):
            raise UserError(
                f"Trials {trials[0].number} and {trial.number} of one repeat were judged on different photos. Remove"
                " the confirmation by search.delete and begin it again."
            )
    return said


def _predictions(shelf: StudyPredictions, trial: FrozenTrial) -> Predictions:
    found = shelf.predictions(trial)
    if found is None:
        raise UserError(f"{shelf.why_missing(trial)}. Give the --runs folder that the confirmation's workers wrote to.")
    return found


def _check_none_diverged(plan: Plan, trials: Sequence[FrozenTrial]) -> None:
    """Raise UserError when a training diverged: the repeats without it are the lucky ones."""
    for trial in trials:
        training = training_of(trial)
        if training is not None and trial.state == TrialState.PRUNED:  # nothing but divergence ends one early
            raise UserError(
                f"{plan.finalists[training.finalist].name} diverged in repeat {training.repeat}, so nothing can be said"
                " of a team with it, or beside it; more repeats will not change that. Choose a team without it."
            )


def _last_look(study: optuna.Study, stored: Stored, plan: Plan, trainings: Sequence[Training]) -> Look:
    """The last look, which is made and stored now if more is known than at the one before."""
    earlier = read_looks(study)
    if not _is_due(earlier, trainings):
        return earlier[-1]
    done = len({training.round for training in trainings})
    made = look(
        trainings,
        SINGLE,
        (TEAM,),
        min(1.0, done / plan.repeats),
        earlier,
        stored.study.matters,
        horizon=float(plan.repeats),
        tuning=NO_TUNING,
    )

    def store() -> Look:
        present = read_looks(study)
        if len(present) != len(earlier):  # another command has looked meanwhile
            return present[-1]
        study.set_user_attr(LOOKS, [*(each.to_json() for each in present), made.to_json()])
        return made

    return decide_in_turn(study, store)


def _is_due(looks: Sequence[Look], trainings: Sequence[Training]) -> bool:
    return not looks or (TEAM not in looks[-1].decided and len(trainings) > looks[-1].trainings)
