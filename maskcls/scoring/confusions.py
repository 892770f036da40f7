"""What a model confuses with what: how many photos, of how many people, in which direction, by mask state.

A *slip* is one way to be wrong, say women taken for men with the mask worn. Its rate is the share of the photos that
could slip so. Rates are compared over people, never over photos (maskcls.scoring.resampling).

Shape suffixes: N photos, P people, K = 18 classes.
"""

from dataclasses import dataclass, replace

import numpy as np

from maskcls.labels import CLASS_NAMES, part_table
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.intervals import Estimate, compare
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples

MIN_PEOPLE = 10
"""With fewer people on either side no difference of rates is called real."""

PLURALS = {"male": "men", "female": "women"}


@dataclass(frozen=True)
class Slip:
    """Photos of one class of ``part`` that are called another one."""

    part: str
    """mask, gender or age."""
    true: int | None = None
    """Class within the part; None: any."""
    called: int | None = None
    """Class within the part; None: any wrong one."""
    mask: int | None = None
    """Photos with this true mask state; None: all."""

    @property
    def text(self) -> str:
        """``women taken for men``, ``age wrong``."""
        names = [PLURALS.get(name, name) for name in CLASS_NAMES[self.part]]
        if self.true is None or self.called is None:
            return f"{self.part} wrong"
        return f"{names[self.true]} taken for {names[self.called]}"

    def at_risk(self, label_N: np.ndarray) -> np.ndarray:
        """bool [N]: photos that could slip so; labels are 18-way."""
        of_part_N, mask_N = part_table(self.part)[label_N], part_table("mask")[label_N]
        is_true_N = np.full(len(label_N), True) if self.true is None else of_part_N == self.true
        return is_true_N if self.mask is None else is_true_N & (mask_N == self.mask)

    def happened(self, label_N: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
        """bool [N]: photos that did."""
        true_N, called_N = part_table(self.part)[label_N], part_table(self.part)[predicted_N]
        is_called_N = called_N != true_N if self.called is None else called_N == self.called
        return self.at_risk(label_N) & is_called_N & (called_N != true_N)


@dataclass(frozen=True)
class Rate:
    """How often a slip happens."""

    photos: int
    """That could slip so."""
    wrong: int
    """That did."""
    people: int
    """With a photo that could."""
    affected: int
    """With a photo that did."""

    @property
    def share(self) -> float:
        """Of the photos that could; 0 without any."""
        return self.wrong / self.photos if self.photos else 0.0


def directions(part: str, mask: int | None = None) -> list[Slip]:
    """Every (true, called) pair of a part's classes, the true one in their order."""
    classes = range(len(CLASS_NAMES[part]))
    return [Slip(part, true, called, mask) for true in classes for called in classes if true != called]


def rate_of(slip: Slip, predictions: Predictions) -> Rate:
    """Of one model's predictions (all 18 classes)."""
    counted = count_slip(slip, predictions)
    could_P, did_P = counted.true_PK[:, 0], counted.hit_PK[:, 0]
    return Rate(int(could_P.sum()), int(did_P.sum()), int((could_P > 0).sum()), int((did_P > 0).sum()))


def count_slip(slip: Slip, predictions: Predictions) -> Counts:
    """Person by person, with the single class "slips": true is what could, hit what did."""
    label_N, predicted_N = predictions.label_N, predictions.log_prob_NK.argmax(1)
    everything = count(predictions.person_N, label_N, predicted_N)
    index_N = np.searchsorted(everything.person_P, np.asarray(predictions.person_N, dtype=str))

    def table(chosen_N: np.ndarray) -> Floats:
        chosen_P = np.bincount(index_N[chosen_N], minlength=len(everything.person_P))
        return chosen_P.astype(np.float64)[:, None]

    did_P1 = table(slip.happened(label_N, predicted_N))
    return replace(everything, true_PK=table(slip.at_risk(label_N)), predicted_PK=did_P1, hit_PK=did_P1)


def share(true_XK: Floats, _: Floats, hit_XK: Floats) -> Floats:
    """Of what could slip, what did; a Score."""
    could_X, did_X = true_XK.sum(-1), hit_XK.sum(-1)
    return np.divide(did_X, could_X, out=np.zeros_like(did_X), where=could_X > 0)


def difference(ours: Counts, theirs: Counts, resamples: Resamples, comparisons: int) -> Estimate:
    """Our rate less theirs, over people; ``comparisons`` are looked at together."""
    return compare((ours,), (theirs,), resamples, share, comparisons)


def is_real(found: Estimate, *sides: Rate) -> bool:
    """Whether the interval leaves out 0 and there are people enough for an interval to mean something."""
    enough = min(side.people for side in sides) >= MIN_PEOPLE
    return enough and found.error > 0 and found.verdict != "not distinguishable"
