"""Intervals and verdicts for scores and their differences, over people and training seeds.

``score`` is, everywhere, what the models are compared by; None: the metric that they are judged by (Counts.metric).

An interval is estimate +- t * sqrt(variance over people [+ variance over training seeds]): the first from resampled
people, the second from repeated trainings, the degrees of freedom of t by Welch and Satterthwaite.
benchmarks/evidence.py measures how often such an interval holds the truth, and the alternatives that were tried.

Shape suffixes: P people, K classes, S resamples, R runs, C recipes, T trials, X any number of sets of people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # quantiles of t; scipy.stats has them too and takes a second to load

from maskcls.scoring.counts import Counts, Floats, Score
from maskcls.scoring.metrics import f1
from maskcls.scoring.resampling import Resamples

LEVEL = 0.95
"""Confidence level of every interval."""

POWER = 0.8
"""Share of studies of this size that find a true difference as large as the minimum detectable effect."""

UPWEIGHT = 1e-3
"""Relative increase of a person's weight by which that person's influence on a score is measured."""


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, with an interval that holds the truth in 95 of 100 such studies."""

    value: float
    low: float
    high: float
    error: float
    """Standard error."""
    dof: float
    """Degrees of freedom of the standard error."""
    critical: float
    """Half the interval's width, in standard errors."""

    @property
    def minimum_detectable_effect(self) -> float:
        """The smallest true difference that four of five studies like this one would find."""
        return float((self.critical + stdtrit(self.dof, POWER)) * self.error)

    @property
    def verdict(self) -> str:
        """What the interval of a difference says: better, worse or not distinguishable."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not distinguishable"


@dataclass(frozen=True)
class Variance:
    """A variance component of an estimate: one source of its error."""

    value: float
    dof: float
    """Degrees of freedom of the observed variance."""
    observed: float | None = None
    """The larger variance from which other components were subtracted to get the value; None: the value itself."""

    @property
    def satterthwaite_term(self) -> float:
        """Half the variance of this variance: variance**2 / dof, a term of Satterthwaite's denominator (1946)."""
        observed = self.value if self.observed is None else self.observed
        return observed**2 / self.dof


def estimate(value: float, sources: Sequence[Variance], comparisons: int = 1) -> Estimate:
    """The value with its interval, from independent sources of its error.

    The degrees of freedom are (sum of variances)**2 / sum of (variance**2 / dof) (Satterthwaite 1946,
    https://doi.org/10.2307/3002019). ``comparisons``: how many such intervals all hold at once in 95 of 100 studies
    (Sidak 1967).
    """
    error, dof = standard_error(sources)
    if any(source.dof < 2 and source.satterthwaite_term > 0 for source in sources):
        dof = 1.0  # the rule trusts a single repetition too much: 9 % of such verdicts would be false
    level = LEVEL ** (1 / comparisons)
    critical = float(stdtrit(dof, 0.5 + level / 2))
    return Estimate(value, value - critical * error, value + critical * error, error, dof, critical)


def standard_error(sources: Sequence[Variance]) -> tuple[float, float]:
    """The standard error that independent sources make together, and its degrees of freedom (``estimate``)."""
    total = sum(source.value for source in sources)
    denominator = sum(source.satterthwaite_term for source in sources)
    dof = max(1.0, total**2 / denominator) if denominator > 0 else max(source.dof for source in sources)
    return float(np.sqrt(total)), float(dof)


def interval(counts: Counts, resamples: Resamples, score: Score | None = None) -> Estimate:
    """A model's score on people like these, its interval clipped to [0, 1]."""
    unclipped = compare((counts,), (), resamples, score)
    return replace(unclipped, low=max(0.0, unclipped.low), high=min(1.0, unclipped.high))


def compare(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    resamples: Resamples,
    score: Score | None = None,
    comparisons: int = 1,
    weight_P: Floats | None = None,
) -> Estimate:
    """Mean score of our trained models less the mean of theirs, on the same people.

    It is about *these trained models*: the spread over training seeds is not in the interval (``compare_recipes``).
    ``weight_P``: weights that turn the sample of people into another population.
    """
    value, people = _people_variance(ours, theirs, resamples, score, weight_P)
    return estimate(value, [people], comparisons)


def compare_classes(
    ours: Sequence[Counts], theirs: Sequence[Counts], resamples: Resamples, comparisons: int = 1
) -> list[Estimate]:
    """``compare`` by the F1 of every class, all classes at once: to the last digit what one call for each gives."""
    estimates = []
    for block in zip(*(counts.by_classes() for counts in (*ours, *theirs)), strict=True):
        value_K, drawn_SK, influence_PK = _over_people(block[: len(ours)], block[len(ours) :], resamples, f1, None)
        for column, value in enumerate(value_K.tolist()):
            drawn_S, influence_P = (np.ascontiguousarray(each[:, column]) for each in (drawn_SK, influence_PK))
            estimates.append(estimate(value, [_people_part(drawn_S, influence_P, resamples)], comparisons))
    return estimates


def compare_recipes(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    resamples: Resamples,
    score: Score | None = None,
    comparisons: int = 1,
    others: Sequence[Sequence[Counts]] = (),
) -> Estimate:
    """Mean score of our recipe less that of theirs, over people and training seeds.

    Each side holds runs of one recipe with different seeds, scored on the same people. ``others``: runs of further
    recipes on them, which help to estimate the variance over seeds. Raises ValueError unless a recipe has run twice.
    """
    repeated = [runs for runs in (ours, theirs, *others) if len(runs) > 1]
    if not repeated:
        raise ValueError("The variance over training seeds is unknown: no recipe has run twice. Repeat one.")
    value, people = _people_variance(ours, theirs, resamples, score)
    dof, factor = sum(len(runs) - 1 for runs in repeated), 1 / len(ours) + 1 / len(theirs)
    seeds = _seed_variance(repeated, resamples, score, _mean_square_within, dof, factor)
    return estimate(value, [people, seeds], comparisons)


def compare_repeats(
    runs_CR: Sequence[Sequence[Counts]],
    ours: int,
    theirs: int,
    resamples: Resamples,
    score: Score | None = None,
    comparisons: int = 1,
) -> Estimate:
    """Mean score of recipe ``ours`` less that of ``theirs``, over people and training seeds.

    C recipes were trained R times each, every repeat on a split of its own. Within a repeat all are scored on the same
    people, so a split's effect on all of them cancels: the variance over seeds is that of the residuals from the means
    of recipes and of repeats. ``resamples`` are of the validation people of all repeats (``align``).
    Raises ValueError for fewer than two recipes or repeats.
    """
    repeats = len(runs_CR[0])
    if repeats < 2 or len(runs_CR) < 2:
        raise ValueError("A comparison of recipes needs at least two of them, repeated at least twice.")
    value, people = _people_variance(runs_CR[ours], runs_CR[theirs], resamples, score)
    dof, factor = (len(runs_CR) - 1) * (repeats - 1), 2 / repeats
    seeds = _seed_variance(runs_CR, resamples, score, _mean_square_interaction, dof, factor)
    return estimate(value, [people, seeds], comparisons)


# --- variance over people -------------------------------------------------------------------------------------------


def _people_variance(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    resamples: Resamples,
    score: Score | None,
    weight_P: Floats | None = None,
) -> tuple[float, Variance]:
    """The difference of mean scores, and its variance over people: that of the difference in the resamples."""
    value, drawn_S, influence_P = _over_people(ours, theirs, resamples, score, weight_P)
    return float(value), _people_part(drawn_S, influence_P, resamples)


def _over_people(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    resamples: Resamples,
    score: Score | None,
    weight_P: Floats | None,
) -> tuple[Floats, Floats, Floats]:
    """The difference of mean scores, in every resample [S], and each person's influence on it [P].

    Where ``score`` gives a score for every class, all three have the classes in a last dimension.
    """
    for counts in (*ours, *theirs):
        assert np.array_equal(counts.person_P, resamples.person_P), "models are compared on the same people"
    drawn_SP = resamples.weight_SP if weight_P is None else resamples.weight_SP * weight_P
    weight_P = np.ones(len(resamples.person_P)) if weight_P is None else weight_P
    value = _mean_difference(*(_scores(runs, weight_P[None], score) for runs in (ours, theirs)))[0]
    drawn_S = _mean_difference(*(_scores(runs, drawn_SP, score) for runs in (ours, theirs)))
    upweighted_P = _mean_difference(
        *(
            [counts.nudged_score(score or counts.score, weight_P, UPWEIGHT) for counts in runs]
            for runs in (ours, theirs)
        )
    )
    return value, drawn_S, (upweighted_P - value) / UPWEIGHT


def _people_part(drawn_S: Floats, influence_P: Floats, resamples: Resamples) -> Variance:
    return Variance(float(drawn_S.var(ddof=1)), people_dof(influence_P, resamples.stratum_P))


def _scores(runs: Sequence[Counts], weight_XP: Floats, score: Score | None) -> list[Floats]:
    """Scores [X] of each run, one for every row of weights."""
    return [(score or counts.score)(*counts.sums(weight_XP)) for counts in runs]


def _mean_difference(our_scores: Sequence[Floats], their_scores: Sequence[Floats]) -> Floats:
    """Mean of ours less mean of theirs, [X]; a side without runs counts 0."""
    ours = [score_X / len(our_scores) for score_X in our_scores]
    theirs = [-score_X / len(their_scores) for score_X in their_scores]
    return np.asarray(sum(ours + theirs))


def people_dof(influence_P: Floats, stratum_P: NDArray[np.int64]) -> float:
    """Degrees of freedom of the variance over people: few when the difference depends on few people.

    A difference that depends on the four oldest men has about three. Each person's influence (the infinitesimal
    jackknife, Efron 1982) gives each stratum's variance; Satterthwaite's rule combines them. ``stratum_P``: as in
    ``Resamples``.
    """
    size = np.bincount(stratum_P)
    mean = np.bincount(stratum_P, influence_P) / size
    square = np.bincount(stratum_P, (influence_P - mean[stratum_P]) ** 2)
    several = size > 1  # a stratum of one person has no variance
    dof = size[several] - 1
    variance = square[several] / dof * size[several]
    denominator = (variance**2 / dof).sum()
    return float(variance.sum() ** 2 / denominator) if denominator > 0 else float(max(1, len(influence_P) - len(size)))


# --- variance over training seeds -----------------------------------------------------------------------------------


def _seed_variance(
    runs_by_recipe: Sequence[Sequence[Counts]],
    resamples: Resamples,
    score: Score | None,
    mean_square: Callable[[Sequence[Floats], int], Floats],
    dof: int,
    factor: float,
) -> Variance:
    """``factor`` times the variance of a run's score over seeds, less what the choice of people adds to it.

    By the method of moments (Searle, Casella and McCulloch 1992, Variance Components). A run's score is its recipe's
    mean + the effect of its seed + an error that the choice of people makes for this run. So ``observed``, the mean
    square of the runs' scores, has the expectation var(seed) + var(people), and ``expected``, the same mean square of
    their errors averaged over the resamples, has the expectation var(people), which is in the interval already:

        var(seed) = max(0, observed - expected).

    Its uncertainty stays that of the whole observed mean square with its ``dof``: with the degrees of freedom of the
    difference, small variances that are small by luck would make 1 verdict in 10 false.
    """
    ones_1P = np.ones((1, len(resamples.person_P)))
    value_CR1 = [np.stack(_scores(runs, ones_1P, score)) for runs in runs_by_recipe]
    drawn_CRS = [np.stack(_scores(runs, resamples.weight_SP, score)) for runs in runs_by_recipe]
    error_CRS = [drawn_RS - value_R1 for drawn_RS, value_R1 in zip(drawn_CRS, value_CR1, strict=True)]
    observed, expected = mean_square(value_CR1, dof).item(), float(mean_square(error_CRS, dof).mean())
    return Variance(factor * max(0.0, observed - expected), dof, factor * observed)


def _mean_square_within(groups: Sequence[Floats], dof: int) -> Floats:
    """One-way ANOVA's mean square within groups, [X]. A group holds the scores [R, X] of one recipe; R may differ."""
    return np.asarray(sum(((value_RX - value_RX.mean(0)) ** 2).sum(0) for value_RX in groups) / dof)


def _mean_square_interaction(groups: Sequence[Floats], dof: int) -> Floats:
    """Two-way ANOVA's mean square of the interaction, [X]: of the residuals from the means of recipes and repeats."""
    value_CRX = np.stack(groups)
    residual_CRX = value_CRX - value_CRX.mean(0, keepdims=True) - value_CRX.mean(1, keepdims=True)
    residual_CRX += value_CRX.mean((0, 1), keepdims=True)
    return np.asarray((residual_CRX**2).sum((0, 1)) / dof)


# --- the best of several ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selected:
    """The best of several models on the people whose predictions selected it."""

    index: int
    raw: float
    """Its score on those people, which is optimistic."""
    corrected: float
    """Its expected score on other people."""


Procedure = Callable[[Floats, Floats], Floats]
"""A way to make one model of several by their predictions: (weights [S, P] of the people who select, weights [S, P] of
those who judge) -> the score [S] on the latter of what is made for the former, row by row."""


def select(
    candidates: Sequence[Counts], resamples: Resamples, score: Score | None = None, max_resamples: int = 500
) -> Selected:
    """The best of ``candidates``, with its score corrected for the selection (``correct``)."""
    score = score or candidates[0].score
    value_T = np.array([float(score(*counts.sums())) for counts in candidates])
    best = int(value_T.argmax())
    drawn_SP, left_out_SP = _selecting_and_judging(resamples, max_resamples)
    selected_S = np.stack([score(*counts.sums(drawn_SP)) for counts in candidates]).argmax(0)
    left_out_TS = np.stack([score(*counts.sums(left_out_SP)) for counts in candidates])
    chosen_S = left_out_TS[selected_S, np.arange(len(drawn_SP))]
    raw = float(value_T[best])
    return Selected(best, raw, _corrected(raw, chosen_S, value_T, left_out_TS))


def correct(
    raw: float,
    procedure: Procedure,
    candidates: Sequence[Counts],
    resamples: Resamples,
    score: Score | None = None,
    max_resamples: int = 500,
) -> float:
    """The expected score on other people of what ``procedure`` makes of ``candidates``, which scores ``raw`` on these.

    In each resample the procedure is repeated on the people drawn and its outcome scored on those left out, as the
    difference from the mean of all candidates there (bootstrap bias correction, Tsamardinos et al. 2018,
    https://doi.org/10.1007/s10994-018-5714-4; the difference, because the F1 of few people is biased for all alike).
    """
    score = score or candidates[0].score
    drawn_SP, left_out_SP = _selecting_and_judging(resamples, max_resamples)
    value_T = np.array([float(score(*counts.sums())) for counts in candidates])
    left_out_TS = np.stack([score(*counts.sums(left_out_SP)) for counts in candidates])
    return _corrected(raw, procedure(drawn_SP, left_out_SP), value_T, left_out_TS)


def _selecting_and_judging(resamples: Resamples, max_resamples: int) -> tuple[Floats, Floats]:
    """(weights [S, P] of the people drawn, those of the people left out)."""
    drawn_SP = resamples.weight_SP[:max_resamples]
    return drawn_SP, (drawn_SP == 0).astype(np.float64)


def _corrected(raw: float, chosen_S: Floats, value_T: Floats, left_out_TS: Floats) -> float:
    """``correct``, from the scores of what was chosen in each resample on the people left out, and the candidates'."""
    gain_S = chosen_S - left_out_TS.mean(0)
    return min(float(value_T.mean() + gain_S.mean()), raw)
