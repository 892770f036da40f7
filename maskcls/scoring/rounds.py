"""What rounds of trainings say about levels, and when it may be said.

In a round every level is trained once or more with one setting and one seed, and the same people, a crowd, judge all of
them. A level less the reference is a least squares estimate of score = round + level (with equal numbers of trainings
it is ``intervals.compare_repeats``); its error has three independent parts: the people who judged, the seeds, and the
setting, at which one level may by luck be nearer to its own best than another.

Anybody may look after every round and stop at the first verdict: the error rate of all looks together is shared out
over them (Lan and DeMets 1983, https://doi.org/10.1093/biomet/70.3.659), little of it early, as O'Brien and Fleming
do (1979, https://doi.org/10.2307/2530245). benchmarks/decisive.py measures what it is worth, and that it holds.

Shape suffixes: N trainings, K columns of a model, S resamples, P people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from maskcls.scoring.counts import MIN_JUDGES, Counts, Floats
from maskcls.scoring.intervals import LEVEL, POWER, Estimate, Variance, people_dof, standard_error
from maskcls.scoring.judges import Judged, Judges, Training
from maskcls.scoring.resampling import resample
from maskcls.scoring.spending import Spending

LEAST_DOF = 4.0
"""Degrees of freedom of the variance over seeds; what the rounds lack is made up by a prior, a cautious one."""

PRIOR_DEVIATION = 0.035
"""The prior's standard deviation from seed to seed, beyond what the people add."""

TUNING = Variance(2 * 0.008**2, 30.0)
"""Variance of a difference of two levels at one setting, which is the best one of neither: at their own best settings
they may differ by so much more or less (measured in simulated studies: benchmarks/decisive.py)."""

OWN_TUNING = Variance(0.018**2, 30.0)
"""The same of two levels that were trained at the best setting found for each: each has its own luck."""

FIRST_SHARE = 0.75
LATER_SHARE = 0.4
"""Part of the error rate that the first horizon may spend, a study's budget as it was planned; and the part of what is
left that each later one may spend, where a study goes on with a larger budget."""

FEW_RESAMPLES = 400
"""Enough for a mean of scores: of one crowd its error is a twentieth of what the people add to a score, at random."""

Verdict = Literal["better", "worse", "no difference that matters", "open", "no verdict"]

BETTER: Verdict = "better"
WORSE: Verdict = "worse"
NO_DIFFERENCE: Verdict = "no difference that matters"
OPEN: Verdict = "open"
NO_VERDICT: Verdict = "no verdict"
"""Fewer than MIN_JUDGES people judged a round of the comparison, and more rounds cannot change that."""


# --- estimates ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A level less the reference, with its standard error."""

    value: float
    error: float
    dof: float
    """Degrees of freedom of the error."""
    people: Variance
    seeds: Variance
    tuning: Variance


def estimate(
    trainings: Sequence[Training], reference: str, judges: Judges | None = None, tuning: Variance = TUNING
) -> dict[str, Difference]:
    """Level -> its difference from the reference, for every level that some round compares with it.

    Empty while no trainings show the spread from seed to seed, as after one round. ``judges``: those of an earlier
    call, which remember what they have judged.
    """
    trainings = sorted(trainings, key=lambda training: training.round)  # judges come in the order of the rounds
    levels = sorted({training.level for training in trainings})
    round_NK = _dummies([training.round for training in trainings])
    level_NK = _dummies([training.level for training in trainings])
    model_NK = np.hstack([round_NK, level_NK])
    residual_dof = len(trainings) - int(np.linalg.matrix_rank(model_NK)) if trainings else 0
    if residual_dof < 1 or reference not in levels:
        return {}
    judges = Judges() if judges is None else judges
    judged = [judges.judge(training) for training in trainings]
    value_N = np.array([each.value for each in judged])
    error_SN = np.stack([each.drawn_S - each.value for each in judged], axis=1)
    inverse_KN = np.linalg.pinv(model_NK)
    observed, expected, dof = _mean_squares(value_N, error_SN, model_NK @ inverse_KN, residual_dof)
    stratum_P = judges.stratum_P
    found = {}
    for level in levels:
        if level == reference:
            continue
        contrast_K = np.zeros(model_NK.shape[1])
        contrast_K[round_NK.shape[1] + levels.index(level)] = 1.0
        contrast_K[round_NK.shape[1] + levels.index(reference)] = -1.0
        weight_N = contrast_K @ inverse_KN
        if not np.allclose(weight_N @ model_NK, contrast_K):
            continue  # never in a round with the reference, nor with a level that was
        square = float((weight_N**2).sum())
        seeds = Variance(square * max(0.0, observed - expected), dof, square * observed)
        sources = (_people_part(judged, weight_N, stratum_P), seeds, tuning)
        found[level] = Difference(float(weight_N @ value_N), *standard_error(sources), *sources)
    return found


def _dummies(of: Sequence[int] | Sequence[str]) -> Floats:
    """A column of 0 and 1 for each of the values, sorted."""
    return (np.array(of)[:, None] == np.unique(of)[None]).astype(np.float64)


def _mean_squares(
    value_N: Floats, error_SN: Floats, fitted_NN: Floats, residual_dof: int
) -> tuple[float, float, float]:
    """(observed, expected, degrees of freedom): the mean square of the residuals, and the people's part in it.

    As ``intervals._seed_variance``, but with at least LEAST_DOF degrees of freedom (moderated as by Smyth 2004,
    https://doi.org/10.2202/1544-6115.1027): a spread that a few trainings show too small by luck would make verdicts
    false, and a t quantile of one degree of freedom makes every interval useless.
    """
    residual_NN = np.eye(len(value_N)) - fitted_NN
    expected = float(np.einsum("sn,nm,sm->s", error_SN, residual_NN, error_SN).mean() / residual_dof)
    prior_dof = max(0.0, LEAST_DOF - residual_dof)
    dof = prior_dof + residual_dof
    observed = (prior_dof * (expected + PRIOR_DEVIATION**2) + float(value_N @ residual_NN @ value_N)) / dof
    return observed, expected, dof


def _people_part(judged: Sequence[Judged], weight_N: Floats, stratum_P: NDArray[np.int64]) -> Variance:
    """The variance of the weighted sum of scores over the people."""
    drawn_S = sum(weight * each.drawn_S for weight, each in zip(weight_N, judged, strict=True))
    influence_P = np.zeros(len(stratum_P))
    for weight, each in zip(weight_N, judged, strict=True):
        influence_P[: len(each.influence_P)] += weight * each.influence_P
    return Variance(float(np.var(drawn_S, ddof=1)), people_dof(influence_P, stratum_P))


def expected_score(mean: float, trainings: Sequence[Training]) -> float:
    """The score to expect of a level on many other people, whose rounds have this ``mean`` score; at least two of them,
    else it is the mean.

    ``trainings``: those that the mean is of, or those of them that have predictions. The F1 of few people is lower on
    average than that of many: of a class that one or two of them show, nearly all photos are found or nearly none. So
    what that takes from the mean is added, as the lesser of two estimates: what all judges say together, each of the
    training of their round, less the mean of the rounds (too much where the trainings differ much), and what resamples
    of each round's judges lose on average (too much where a class has hardly any judge). Never less than nothing is
    added: few judges do not raise a mean, and take nothing from a metric such as accuracy, whose estimates are noise.
    """
    if len({training.round for training in trainings}) < 2:
        return mean
    score, sums = trainings[0].counts.score, [training.counts.sums() for training in trainings]
    value_N = np.array([float(score(*each)) for each in sums])
    true_K, predicted_K, true_positive_K = (np.sum(sums_NK, axis=0) for sums_NK in zip(*sums, strict=True))
    together = float(score(true_K, predicted_K, true_positive_K))
    resampled_N = [_mean_of_resamples(training.counts) for training in trainings]
    return mean + max(0.0, float(min(together - value_N.mean(), (value_N - resampled_N).mean())))


def _mean_of_resamples(counts: Counts) -> float:
    """The mean score on resamples of the people."""
    return float(counts.score(*counts.sums(resample(counts, resamples=FEW_RESAMPLES).weight_SP)).mean())


# --- looks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LevelLook:
    """What a look says of a level less the reference."""

    value: float
    low: float
    high: float
    error: float
    """Standard error."""
    dof: float
    critical: float
    """Half the interval's width in standard errors, before it is cut at [-1, 1]."""
    verdict: Verdict
    round: int
    """The round after which the look was made: a level that is decided keeps its look."""

    @property
    def is_decided(self) -> bool:
        """Whether the level needs no more trainings."""
        return self.verdict not in (OPEN, NO_VERDICT)

    @property
    def estimate(self) -> Estimate:
        """The difference as other intervals are shown."""
        return Estimate(self.value, self.low, self.high, self.error, self.dof, self.critical)

    @property
    def bound(self) -> float:
        """No difference larger than this is left, either way."""
        return max(abs(self.low), abs(self.high))

    def effect_after(self, growth: float, comparisons: int, tuning: Variance = TUNING) -> float:
        """The difference that four of five studies would find with ``growth`` times as many trainings, at their end.

        What people and seeds add to the error shrinks with the trainings; what the settings add stays.
        """
        fixed = min(tuning.value, self.error**2)
        error = np.sqrt(fixed + (self.error**2 - fixed) / growth)
        return detectable(float(error), self.dof * growth, comparisons)


def with_tuning(difference: Estimate, tuning: Variance = OWN_TUNING) -> Estimate:
    """The estimate of trained recipes as one of their levels: its error has the luck of their settings too.

    Its t quantile stays, so that no interval gets narrower by it.
    """
    error = float(np.sqrt(difference.error**2 + tuning.value))
    low, high = (difference.value + sign * difference.critical * error for sign in (-1, 1))
    return replace(difference, low=low, high=high, error=error)


def detectable(error: float, dof: float, comparisons: int) -> float:
    """The difference that four of five studies find whose differences have this standard error at their last look."""
    alpha = FIRST_SHARE * (1 - LEVEL ** (1 / max(1, comparisons)))
    return float((stdtrit(dof, 1 - alpha / 2) + stdtrit(dof, POWER)) * error)


@dataclass(frozen=True)
class Look:
    """What is known of all levels after a round."""

    round: int
    share: float
    """Part of the rounds' budget that was spent."""
    levels: Mapping[str, LevelLook]
    """Level -> what is known of it; a level without any training beside the reference is missing."""
    horizon: float = 0.0
    """The budget that the share is of, such as --n-trials; another number begins another horizon."""
    trainings: int = 0
    """Number of trainings of rounds so far."""

    @property
    def decided(self) -> tuple[str, ...]:
        """The levels that need no more trainings."""
        return tuple(name for name, level in self.levels.items() if level.is_decided)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they come back from the database."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Look":
        """The inverse of to_json."""
        levels = {name: LevelLook(**level) for name, level in values["levels"].items()}
        return Look(**{**values, "levels": levels})


def look(
    trainings: Sequence[Training],
    reference: str,
    levels: Sequence[str],
    share: float,
    earlier: Sequence[Look],
    matters: float,
    *,
    horizon: float = 0.0,
    judges: Judges | None = None,
    tuning: Variance = TUNING,
    number: int | None = None,
) -> Look:
    """The look after the round of this ``number``; None for the last round of ``trainings``.

    ``levels``: all that the study compares with the reference, whose intervals hold at once in 95 of 100 studies;
    ``earlier``: every look that was made before, in order; ``share``: of the rounds' budget, 1 at the last round.
    Nothing is decided by a round with fewer than MIN_JUDGES people.
    """
    if number is None:
        number = max((training.round for training in trainings), default=0)
    known = dict(earlier[-1].levels) if earlier else {}
    alpha = 1 - LEVEL ** (1 / max(1, len(levels)))
    found = estimate(trainings, reference, judges, tuning)
    may_decide = all(len(training.counts.person_P) >= MIN_JUDGES for training in trainings)
    for level in levels:
        if level in found and not (level in known and known[level].is_decided):
            nominal = _nominal_level(level, found[level].error, share, horizon, earlier, alpha)
            known[level] = _level_look(found[level], nominal, matters, number, may_decide)
    return Look(number, share, known, horizon, len(trainings))


def _nominal_level(
    level: str, error: float, share: float, horizon: float, earlier: Sequence[Look], alpha: float
) -> float:
    """The two-sided level of this look at one difference, after the earlier looks at it."""
    spending = Spending(alpha)
    looks = [(past.share, past.horizon, past.levels[level].error) for past in earlier if level in past.levels]
    nominal, current, is_over = alpha, None, False
    for past_share, past_horizon, past_error in (*looks, (share, horizon, error)):
        if current is None or past_horizon != current or is_over:
            spending.begin(FIRST_SHARE if current is None else LATER_SHARE)
        nominal = spending.level(past_share, 1 / past_error**2)
        current, is_over = past_horizon, past_share >= 1
    return nominal


def _level_look(difference: Difference, nominal: float, matters: float, number: int, may_decide: bool) -> LevelLook:
    critical = float(stdtrit(difference.dof, 1 - nominal / 2))
    low, high = (float(np.clip(difference.value + sign * critical * difference.error, -1, 1)) for sign in (-1, 1))
    verdict: Verdict = BETTER if low > 0 else WORSE if high < 0 else OPEN
    if verdict == OPEN and -matters < low and high < matters:
        verdict = NO_DIFFERENCE
    verdict = verdict if may_decide else NO_VERDICT
    return LevelLook(difference.value, low, high, difference.error, difference.dof, critical, verdict, number)
