"""What a study's rounds say, from its stored looks and the trainings that they looked at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.scoring.intervals import Variance, standard_error
from maskcls.scoring.judges import Training
from maskcls.scoring.rounds import OPEN, OWN_TUNING, TUNING, Look, detectable, expected_score
from search.answer.answer import MoreTrainings, Round, RoundsAnswer, Side
from search.policy.history import Noise
from search.policy.rounds import FINALISTS, arms_of, exemplar_of, size_of_round
from search.policy.stopping import FINISHED
from search.storage.final_test import FinalTest
from search.storage.looks import read_looks
from search.storage.predictions import StudyPredictions
from search.study.attributes import SECONDS, is_own_best, level_of, round_of
from search.study.record import Stored
from search.study.space import factors, values_of

DOUBLED = 2
"""More rounds are told as twice as many trainings as there are."""

UNKNOWN_DEVIATION, LEAST_DEVIATION = 0.045, 0.02
"""The spread of a score between two trainings, people's part included: where it is unknown, and the least that is
believed of a few repeated runs."""


def answer_of_rounds(
    stored: Stored,
    trials: Sequence[FrozenTrial],
    looks: Sequence[Look],
    shelf: StudyPredictions | None = None,
    own_best: bool = False,
) -> RoundsAnswer | None:
    """What the rounds of one kind say so far; None in a study whose rounds compare nothing yet.

    ``trials``: all of the study's finished ones. ``looks``: those at rounds of this kind, at a common setting or (with
    ``own_best``) with each level at its own best. ``shelf``: to count the judges. Between looks the last look stands.
    The sides are the levels as they are: the trainings of a range's parts before it was widened are of none.
    """
    arms = [arm.name for arm in arms_of(stored.study)]
    trials = [trial for trial in trials if level_of(trial) is None or is_own_best(trial) == own_best]
    trainings = [trial for trial in trials if trial.state in FINISHED and level_of(trial) is not None]
    if stored.study.scientific:
        trainings = [trial for trial in trainings if _name(trial) in arms]
    names = list(dict.fromkeys([*arms, *map(_name, trainings)]))
    if len(names) < 2 or not trainings:
        return None
    looks = [look for look in looks if not look.levels.keys().isdisjoint(names)]
    known = dict(looks[-1].levels) if looks else {}
    asked = _asked(stored, trials)
    sides = [_side(name, [trial for trial in trainings if _name(trial) == name], asked) for name in names]
    first = sides[0]
    sides = [
        replace(side, look=look, score=side.score if look is None or first.score is None else first.score + look.value)
        for side in sides
        for look in (known.get(side.name),)
    ]
    ranked = sorted(range(len(sides)), key=lambda index: -(sides[index].score or 0.0))
    rounds = tuple(_rounds(stored, trainings, shelf))
    more = _more(sides, trainings, OWN_TUNING if own_best else TUNING)
    return RoundsAnswer(tuple(sides), rounds, tuple(looks), ranked[0], more, stored.task.unit, own_best)


def both_answers(
    study: optuna.Study, stored: Stored, trials: Sequence[FrozenTrial], shelf: StudyPredictions | None = None
) -> tuple[RoundsAnswer | None, RoundsAnswer | None]:
    """What the rounds at a common setting say, and those with each level at its own best; as ``answer_of_rounds``."""
    common, own = (
        answer_of_rounds(stored, trials, read_looks(study, own_best), shelf, own_best) for own_best in (False, True)
    )
    return common, own


def _name(trial: FrozenTrial) -> str:
    return level_of(trial) or ""


def model_of(
    side: Side, trials: Sequence[FrozenTrial], shelf: StudyPredictions, test: FinalTest | None
) -> FrozenTrial | None:
    """The training that stands for a side: the one whose score on the ``test`` is known, else exemplar_of.

    Of those that have predictions; None without any.
    """
    able = shelf.with_predictions(trial for trial in trials if trial.number in side.trials)
    return next((trial for trial in able if test is not None and trial.number == test.trial), exemplar_of(able))


def score_to_expect(side: Side, trials: Sequence[FrozenTrial], shelf: StudyPredictions) -> float | None:
    """The score to expect of a side on other groups (scoring.rounds.expected_score), by its predictions.

    Without them the mean of its rounds, which is lower where few groups judge; None without a complete training.
    """
    able = shelf.with_predictions(trial for trial in trials if trial.number in side.scored)
    trainings = [Training(side.name, round_of(trial) or 0, shelf.counts(trial)) for trial in able]
    return None if side.score is None else expected_score(side.score, trainings)


def _asked(stored: Stored, trials: Sequence[FrozenTrial]) -> frozenset[int]:
    """Numbers of the rounds that a score is of: those at settings which the rounds chose, judged by people who chose
    nothing. So round 0 counts only without a search, and where the rounds kept its setting."""

    def setting(trial: FrozenTrial) -> tuple[object, ...]:
        values = values_of(stored.study.space, trial.params)
        return tuple(values[name] for name in stored.study.nuisance)

    trainings = [trial for trial in trials if level_of(trial) is not None]
    later = {setting(trial) for trial in trainings if round_of(trial)}
    first = {setting(trial) for trial in trainings if round_of(trial) == 0}
    is_same = len(trainings) == len(trials) and first <= later
    return frozenset(round_of(trial) or 0 for trial in trainings if round_of(trial) or is_same or not later)


def _side(name: str, trainings: Sequence[FrozenTrial], asked: Collection[int]) -> Side:
    """The side without its look. Its score is its mean over the rounds ``asked`` about."""
    complete = [trial for trial in trainings if trial.state == TrialState.COMPLETE and trial.value is not None]
    chosen = [trial for trial in complete if (round_of(trial) or 0) in asked] or complete
    return Side(
        name=name,
        trials=tuple(trial.number for trial in complete),
        score=fmean(trial.value or 0.0 for trial in chosen) if chosen else None,
        look=None,
        scored=tuple(trial.number for trial in chosen),
        diverged=tuple(trial.number for trial in trainings if trial.state != TrialState.COMPLETE),
    )


def _rounds(stored: Stored, trainings: Sequence[FrozenTrial], shelf: StudyPredictions | None) -> list[Round]:
    rounds, by_round = [], dict[int, list[FrozenTrial]]()
    for trial in trainings:
        by_round.setdefault(round_of(trial) or 0, []).append(trial)
    for number, here in sorted(by_round.items()):
        values = [values_of(stored.study.space, trial.params) for trial in here]
        common = {name: value for name, value in values[0].items() if all(each[name] == value for each in values)}
        judged = next(iter(shelf.with_predictions(here)), None) if shelf is not None else None
        rounds.append(
            Round(
                number,
                {name: value for name, value in common.items() if name in stored.study.nuisance},
                0 if shelf is None or judged is None else len(shelf.counts(judged).person_P),
                _scores(here),
                _own_values(stored, here),
            )
        )
    return rounds


def _own_values(stored: Stored, trainings: Sequence[FrozenTrial]) -> Mapping[str, Mapping[str, Any]]:
    """Round.own_values of the trainings of a round."""
    found = {}
    for trial in trainings:
        if is_own_best(trial):
            values = values_of(stored.study.space, trial.params)
            found[_name(trial)] = {name: values[name] for name in stored.study.nuisance}
    return found


def _scores(trainings: Sequence[FrozenTrial]) -> Mapping[str, tuple[float, ...]]:
    scores: dict[str, tuple[float, ...]] = {}
    for trial in trainings:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            scores[_name(trial)] = (*scores.get(_name(trial), ()), trial.value)
    return scores


def more_by_rounds(
    comparisons: int, noise: Noise | None, trials: Sequence[FrozenTrial], rounds: int = 5
) -> MoreTrainings | None:
    """What so many rounds would bring to a study that has none, by the spread between its repeated runs if it has any.

    None in a study that compares no levels.
    """
    if not comparisons:
        return None
    variance = UNKNOWN_DEVIATION**2 if noise is None else max(noise.deviation, LEAST_DEVIATION) ** 2
    error, dof = standard_error((Variance(2 * variance / rounds, rounds * comparisons), TUNING))
    number = rounds * size_of_round(comparisons)
    seconds = [
        trial.user_attrs[SECONDS]
        for trial in trials
        if trial.state == TrialState.COMPLETE and SECONDS in trial.user_attrs
    ]
    return MoreTrainings(
        rounds, number, number * fmean(seconds) if seconds else 0.0, detectable(error, dof, comparisons)
    )


def trainings_of_a_round(stored: Stored, rounds: RoundsAnswer | None) -> int:
    """How many trainings another round has, of the reference and of every side that is not decided."""
    if rounds is None:
        open_ = sum(len(factor.levels) - 1 for factor in factors(stored.study.scientific)) or FINALISTS
    else:
        open_ = sum(side.look is None or not side.look.is_decided for side in rounds.sides[1:])
    return size_of_round(open_)


def _more(sides: Sequence[Side], trainings: Sequence[FrozenTrial], tuning: Variance) -> MoreTrainings | None:
    """What as many rounds again would bring, of the open sides and the reference."""
    looks = [side.look for side in sides if side.look is not None and side.look.verdict == OPEN]
    if not looks:
        return None
    rounds = len({round_of(trial) for trial in trainings})
    number = rounds * size_of_round(len(looks))
    seconds = [trial.user_attrs[SECONDS] for trial in trainings if SECONDS in trial.user_attrs]
    effect = max(look.effect_after(DOUBLED, len(sides) - 1, tuning) for look in looks)
    return MoreTrainings(rounds, number, number * fmean(seconds) if seconds else 0.0, effect)
