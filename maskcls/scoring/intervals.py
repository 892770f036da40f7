"""How sure one can be of a score or a difference: intervals over people and training seeds, verdicts in words.

An interval is estimate +- t * sqrt(variance over people [+ variance over training seeds]): the first from resampled
people, the second from repeated trainings, the degrees of freedom of t by Welch and Satterthwaite.
benchmarks/evidence.py measures what such an interval is worth, and what was tried in its place.

Shape suffixes: P people, K classes, S resamples, R runs, C recipes, T trials, X any number of sets of people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # quantiles of t; scipy.stats has them too and takes a second to load

from maskcls.scoring.counts import Counts, Floats, Score, Sums, macro_f1
from maskcls.scoring.resampling import Resamples

LEVEL = 0.95
"""Of every interval."""

POWER = 0.8
"""The smallest detectable difference is one that this share of studies of the size would find."""


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, with the interval that holds the truth in 95 of 100 such studies."""

    value: float
    low: float
    high: float
    error: float
    """Standard error."""
    freedom: float
    """Degrees of freedom of the standard error."""
    critical: float
    """The interval reaches this many standard errors to each side."""

    @property
    def minimum_detectable_effect(self) -> float:
        """The smallest true difference that four of five studies like this one would tell from none."""
        return float((self.critical + stdtrit(self.freedom, POWER)) * self.error)

    @property
    def verdict(self) -> str:
        """Of a difference: better, worse or not distinguishable."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not distinguishable"


@dataclass(frozen=True)
class Variance:
    """One source of error."""

    value: float
    freedom: float
    """Degrees of freedom of what it was read from."""
    read_from: float | None = None
    """The larger variance that it is a part of, the rest taken off; None: itself."""

    @property
    def square(self) -> float:
        """Half its own variance, as Satterthwaite (1946) has it."""
        whole = self.value if self.read_from is None else self.read_from
        return whole**2 / self.freedom


def estimate(value: float, sources: Sequence[Variance], comparisons: int = 1) -> Estimate:
    """From the sources of error, which are independent.

    ``comparisons``: how many such intervals are looked at together; all hold at once in 95 of 100 (Sidak).
    """
    total = sum(source.value for source in sources)
    squares = sum(source.square for source in sources)
    freedom = max(1.0, total**2 / squares) if squares > 0 else max(source.freedom for source in sources)
    if any(source.freedom < 2 and source.square > 0 for source in sources):
        freedom = 1.0  # of one repetition alone the rule makes too much: 9 % of such verdicts would be false
    level = LEVEL ** (1 / comparisons)
    critical = float(stdtrit(freedom, 0.5 + level / 2))
    error = float(np.sqrt(total))
    return Estimate(value, value - critical * error, value + critical * error, error, float(freedom), critical)


def interval(counts: Counts, resamples: Resamples, score: Score = macro_f1) -> Estimate:
    """A model's score on people like these; kept within [0, 1]."""
    found = compare((counts,), (), resamples, score)
    return Estimate(found.value, max(0.0, found.low), min(1.0, found.high), found.error, found.freedom, found.critical)


def compare(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    resamples: Resamples,
    score: Score = macro_f1,
    comparisons: int = 1,
    weight_P: Floats | None = None,
) -> Estimate:
    """Mean score of our trained models less the mean of theirs, on the same people: about *these trained models*.

    What another training of the same recipes would give is not in the interval; see ``compare_recipes``.
    ``weight_P``: weights of the people, where the score is of a population other than the sample's.
    """
    value, person = _over_people(ours, theirs, resamples, score, weight_P)
    return estimate(value, [person], comparisons)


def _over_people(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    resamples: Resamples,
    score: Score,
    weight_P: Floats | None = None,
) -> tuple[float, Variance]:
    """The difference of means, and its variance over people."""
    for counts in (*ours, *theirs):
        assert np.array_equal(counts.person_P, resamples.person_P), "models are compared on the same people"
    unit_P = np.ones(len(resamples.person_P)) if weight_P is None else weight_P
    groups = ((ours, 1.0), (theirs, -1.0))

    def difference(sums_of: Callable[[Counts], Sums]) -> Floats:
        return np.asarray(
            sum(sign * score(*sums_of(counts)) / len(group) for group, sign in groups for counts in group)
        )

    value = difference(lambda counts: counts.sums(unit_P[None]))[0]
    drawn_S = difference(lambda counts: counts.sums(resamples.weight_SP * unit_P))
    influence_P = (difference(lambda counts: counts.nudged(unit_P, STEP)) - value) / STEP
    return float(value), Variance(float(drawn_S.var(ddof=1)), _freedom(influence_P, resamples))


STEP = 1e-3
"""By which a person's weight is changed to see how much hangs on it."""


def _freedom(influence_P: Floats, resamples: Resamples) -> float:
    """Degrees of freedom of the variance over people: what hangs on few people is known less well.

    A difference that hangs on the four oldest men has about three. Each person's influence (the infinitesimal
    jackknife) gives each stratum's variance; Satterthwaite's rule puts them together.
    """
    size = resamples.sizes
    inside = np.flatnonzero(size > 1)
    mean = np.bincount(resamples.stratum_P, influence_P) / size
    square = np.bincount(resamples.stratum_P, (influence_P - mean[resamples.stratum_P]) ** 2)
    variance = (square[inside] / (size[inside] - 1)) * size[inside]
    parts = (variance**2 / (size[inside] - 1)).sum()
    return float(variance.sum() ** 2 / parts) if parts > 0 else float(max(1, len(influence_P) - len(size)))


def compare_recipes(
    ours: Sequence[Counts],
    theirs: Sequence[Counts],
    resamples: Resamples,
    score: Score = macro_f1,
    comparisons: int = 1,
    others: Sequence[Sequence[Counts]] = (),
) -> Estimate:
    """Mean score of our recipe less that of theirs: about the recipes, over people and training seeds both.

    Each side holds runs of one recipe with different seeds, judged by the same people. ``others``: runs of further
    recipes on them, which tell of the same spread from seed to seed. At least one recipe has run twice.
    """
    value, person = _over_people(ours, theirs, resamples, score)
    groups = [group for group in (ours, theirs, *others) if len(group) > 1]
    if not groups:
        raise ValueError("Nothing is known of the spread from seed to seed: no recipe has run twice.")
    freedom = sum(len(group) - 1 for group in groups)

    def squares(of: Callable[[Counts], Floats]) -> Floats:
        total = np.zeros(())
        for group in groups:
            value_RX = np.stack([of(counts) for counts in group])
            total = total + ((value_RX - value_RX.mean(0)) ** 2).sum(0)
        return np.asarray(total / freedom)

    seeds = _beyond_people(squares, freedom, 1 / len(ours) + 1 / len(theirs), resamples, score)
    return estimate(value, [person, seeds], comparisons)


def compare_repeats(
    runs_CR: Sequence[Sequence[Counts]],
    ours: int,
    theirs: int,
    resamples: Resamples,
    score: Score = macro_f1,
    comparisons: int = 1,
) -> Estimate:
    """Two of C recipes that were trained R times each, repeat by repeat on a split and with a seed of its own.

    About the recipes, over people and training seeds both. Within a repeat all are judged by the same people, so
    what a split does to all of them cancels; the spread is what is left once each recipe's and each repeat's mean is
    taken off. ``resamples`` are of everybody who judges in any repeat (``align``).
    """
    repeats = len(runs_CR[0])
    if repeats < 2 or len(runs_CR) < 2:
        raise ValueError("A comparison of recipes needs at least two of them, repeated at least twice.")
    value, person = _over_people(runs_CR[ours], runs_CR[theirs], resamples, score)
    freedom = (len(runs_CR) - 1) * (repeats - 1)

    def squares(of: Callable[[Counts], Floats]) -> Floats:
        value_CRX = np.stack([np.stack([of(counts) for counts in runs]) for runs in runs_CR])
        rest_CRX = value_CRX - value_CRX.mean(0, keepdims=True) - value_CRX.mean(1, keepdims=True)
        rest_CRX += value_CRX.mean((0, 1), keepdims=True)
        return np.asarray((rest_CRX**2).sum((0, 1)) / freedom)

    seeds = _beyond_people(squares, freedom, 2 / repeats, resamples, score)
    return estimate(value, [person, seeds], comparisons)


def _beyond_people(
    squares: Callable[[Callable[[Counts], Floats]], Floats],
    freedom: int,
    factor: float,
    resamples: Resamples,
    score: Score,
) -> Variance:
    """``factor`` times the variance of a run's score from seed to seed, without what the choice of people adds to it.

    ``squares`` makes a variance of the runs' scores. The same of their deviations in resamples is the people's part,
    which the interval has already. Its uncertainty stays that of the whole: with the freedom of the difference, small
    variances that are small by luck would make 1 verdict in 10 false.
    """
    everybody_1P = np.ones((1, len(resamples.person_P)))
    observed = float(squares(lambda counts: score(*counts.sums(everybody_1P)))[0])
    deviation_S = squares(lambda counts: score(*counts.sums(resamples.weight_SP)) - score(*counts.sums(everybody_1P)))
    beyond = max(0.0, observed - float(deviation_S.mean()))
    return Variance(factor * beyond, freedom, factor * observed)


@dataclass(frozen=True)
class Selected:
    """The best of several models by its score on the people who chose it."""

    index: int
    raw: float
    """Its score, which is optimistic: it was chosen for it."""
    corrected: float
    """What it should score on people who did not choose."""


def select(candidates: Sequence[Counts], resamples: Resamples, score: Score = macro_f1, most: int = 500) -> Selected:
    """The best of ``candidates``, and its score corrected for the choice.

    In each resample the best is chosen by the people drawn and judged by those left out, as the difference from the
    mean of all candidates there (bootstrap bias correction, Tsamardinos et al. 2018,
    https://doi.org/10.1007/s10994-018-5714-4; the difference, because the F1 of few people is biased for all alike).
    ``most``: resamples used.
    """
    value_T = np.array([float(score(*counts.sums())) for counts in candidates])
    best = int(value_T.argmax())
    drawn_SP = resamples.weight_SP[:most]
    left_SP = (drawn_SP == 0).astype(np.float64)
    chosen_S = np.stack([score(*counts.sums(drawn_SP)) for counts in candidates]).argmax(0)
    judged_TS = np.stack([score(*counts.sums(left_SP)) for counts in candidates])
    gain_S = judged_TS[chosen_S, np.arange(len(drawn_SP))] - judged_TS.mean(0)
    corrected = float(value_T.mean() + gain_S.mean())
    return Selected(best, float(value_T[best]), min(corrected, float(value_T[best])))
