"""The looks at a study's rounds: made once, in turn, when a round is complete, and stored with the study.

Whoever shows or uses an answer reads the last stored look; between looks it stands. The rounds in which each level has
its own best setting answer another question: they have their own looks, which spend an error rate of their own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from maskcls.scoring.judges import Judges, Training
from maskcls.scoring.rounds import OWN_TUNING, TUNING, Look, look
from search.policy.confirmation import policy_of
from search.policy.policy import Policy
from search.policy.rounds import complete_trainings
from search.policy.stopping import StoppingCriteria
from search.storage.folder import study_folder
from search.storage.outcomes import decide_in_turn
from search.storage.predictions import StudyPredictions, predictions_of
from search.study.attributes import LEVEL, LOOKS, OWN_LOOKS, round_of
from search.study.record import Stored


def read_looks(study: optuna.Study, own_best: bool = False) -> list[Look]:
    """The looks so far, the earliest first. ``own_best``: those at the rounds with each level at its own best."""
    return _looks_in(study.user_attrs, own_best)


def _looks_in(attributes: Mapping[str, Any], own_best: bool) -> list[Look]:
    return [Look.from_json(values) for values in attributes.get(OWN_LOOKS if own_best else LOOKS, ())]


def closed_levels(study: optuna.Study, own_best: bool = False) -> frozenset[str]:
    """The names of the arms (policy.rounds.Arm) that are decided and get no more trainings in rounds of this kind."""
    return closed_in(study.user_attrs, own_best)


def closed_in(attributes: Mapping[str, Any], own_best: bool = False) -> frozenset[str]:
    """closed_levels of the study with these attributes."""
    return frozenset(name for each in _looks_in(attributes, own_best) for name in each.decided)


def is_look_due(policy: Policy, trials: Sequence[FrozenTrial], looks: Sequence[Look], own_best: bool = False) -> bool:
    """Whether a round of this kind is complete that was not looked at. The first alone says nothing."""
    complete = policy.rounds(trials).complete(own_best)
    return len(complete) > 1 and complete[-1] > max((each.round for each in looks), default=0)


def next_look(
    policy: Policy,
    trials: Sequence[FrozenTrial],
    trainings: Sequence[Training],
    limits: StoppingCriteria,
    earlier: Sequence[Look],
    matters: float,
    judges: Judges | None = None,
    own_best: bool = False,
) -> Look:
    """The look after the last complete round of this kind.

    ``trainings``: those of the complete rounds that can be used, maybe none of the last one; ``earlier``: the looks at
    rounds of this kind; ``matters``: the smallest difference that matters to the study.
    """
    closed = frozenset(name for each in earlier for name in each.decided)
    horizon = limits.max_epochs if limits.max_epochs is not None else limits.n_trials
    return look(
        trainings,
        policy.arms[0].name,
        policy.compared(trials),
        policy.share_of_rounds(trials, limits, closed, own_best),
        earlier,
        matters,
        horizon=float(horizon),
        judges=judges,
        tuning=OWN_TUNING if own_best else TUNING,
        number=policy.rounds(trials).complete(own_best)[-1],
    )


def look_if_due(
    study: optuna.Study, policy: Policy, limits: StoppingCriteria, shelf: StudyPredictions, matters: float
) -> Look | None:
    """Make and store the look that is due at rounds of either kind; None if none is.

    It is computed outside the turn, as it takes seconds: it is a function of the complete rounds, so of two workers
    that make it at once the second finds the first one's and drops its own.
    """
    attributes, trials = study.user_attrs, study.get_trials(deepcopy=False)
    made = [
        _look_if_due(study, trials, _looks_in(attributes, own_best), policy, limits, shelf, matters, own_best)
        for own_best in (False, True)
    ]
    return next((each for each in made if each is not None), None)


def _look_if_due(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    earlier: Sequence[Look],
    policy: Policy,
    limits: StoppingCriteria,
    shelf: StudyPredictions,
    matters: float,
    own_best: bool,
) -> Look | None:
    """``look_if_due`` at the rounds of one kind."""
    if not is_look_due(policy, trials, earlier, own_best):
        return None
    complete = policy.rounds(trials).complete(own_best)
    usable = shelf.with_predictions(complete_trainings(trials, complete))
    trainings = [Training(trial.user_attrs[LEVEL], round_of(trial) or 0, shelf.counts(trial)) for trial in usable]
    if len({training.round for training in trainings}) < 2:
        return None
    made = next_look(policy, trials, trainings, limits, earlier, matters, own_best=own_best)

    def store() -> Look | None:
        if len(read_looks(study, own_best)) != len(earlier):
            return None
        study.set_user_attr(OWN_LOOKS if own_best else LOOKS, [*(each.to_json() for each in earlier), made.to_json()])
        return made

    return decide_in_turn(study, store)


def make_missed_look(study: optuna.Study, stored: Stored, runs: Path, limits: StoppingCriteria) -> Look | None:
    """Make and store the look that the workers were stopped before they could make; None if none is due."""
    policy = policy_of(stored)
    if not isinstance(policy, Policy):  # a confirmation has repeats and no rounds
        return None
    shelf = predictions_of(study, stored, study_folder(study, runs))
    return look_if_due(study, policy, limits, shelf, stored.study.matters)
