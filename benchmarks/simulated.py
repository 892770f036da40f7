"""People, photos and classifiers with a known truth, for benchmarks/evidence.py.

A classifier sees a person through two numbers, how female and how old they look. Most of what it gets wrong is the
person's own doing and the same on all seven photos; a part of that it shares with every other classifier (hard
people), the rest is its own. A mask adds noise to the age. Errors about masks are rare and independent.

The constants give macro F1 about .66 with a standard error of about .02 at 540 validation people, as facts about the
real task have it (age decides, gender .93, masks .98).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from maskcls.scoring.counts import Counts, count, macro_f1
from maskcls.tasks.mask import MASK_TASK

CELL_SHARES = np.array([549, 410, 83, 732, 817, 109]) / 2700
"""Of male under 30, 30 to 59, 60 and over, then female: the competition's."""

STATES = np.array([0, 0, 0, 0, 0, 1, 2])
"""Mask state of each of a person's photos."""

LOOKS = np.array([-1.0, 0.35, 1.75])
"""How old each band looks on average."""
BORDERS = (-0.3, 1.1)
GENDER_GAP, PERSON_GENDER, PHOTO_GENDER = 1.9, 1.1, 0.3
PERSON_AGE, PHOTO_AGE, MASKED_AGE = 0.72, 0.2, 0.15
WRONG_MASK = 0.02

TRUTH_PEOPLE = 60_000
"""In each cell; the truth's own standard error is then below .001."""


@dataclass(frozen=True)
class Crowd:
    """A validation split."""

    cell_P: np.ndarray
    hard_P2: np.ndarray
    """What every classifier finds hard about a person, of gender and age; standard normal."""

    @property
    def label_N(self) -> np.ndarray:
        """Class 0..17, seven photos a person."""
        gender_P, age_P = self.cell_P // 3, self.cell_P % 3
        return MASK_TASK.space.encode(STATES[None], gender_P[:, None], age_P[:, None]).ravel()

    @property
    def person_N(self) -> np.ndarray:
        """Names that sort as the people do."""
        names = np.array([f"{number:07d}" for number in range(len(self.cell_P))])
        return np.repeat(names, len(STATES))


def draw_crowd(rng: np.random.Generator, people: int) -> Crowd:
    """So many people, every cell by its share, as the split draws them."""
    return Crowd(np.repeat(np.arange(6), cell_counts(people)), rng.normal(size=(people, 2)))


def cell_counts(people: int) -> np.ndarray:
    """People in each cell, by largest remainder, at least one."""
    counts = np.maximum(1, np.floor(CELL_SHARES * people)).astype(int)
    while counts.sum() < people:
        counts[np.argmax(CELL_SHARES * people - counts)] += 1
    return counts


def classify(rng: np.random.Generator, crowd: Crowd, skill: float = 1.0, own: float = 0.5) -> np.ndarray:
    """predicted_N of a classifier. ``own``: the share of the people's effect that no other classifier shares."""
    people, photos = len(crowd.cell_P), len(STATES)
    gender_P, age_P = crowd.cell_P // 3, crowd.cell_P % 3
    effect_P2 = np.sqrt(1 - own) * crowd.hard_P2 + np.sqrt(own) * rng.normal(size=(people, 2))
    noise_PF2 = rng.normal(size=(people, photos, 2))
    female_PF = (2 * gender_P - 1)[:, None] * GENDER_GAP * skill + PERSON_GENDER * effect_P2[:, :1]
    female_PF = female_PF + PHOTO_GENDER * noise_PF2[:, :, 0]
    age_noise_F = PHOTO_AGE + MASKED_AGE * (STATES == 0)
    old_PF = LOOKS[age_P][:, None] * skill + PERSON_AGE * effect_P2[:, 1:] + age_noise_F * noise_PF2[:, :, 1]
    band_PF = sum((old_PF > border * skill).astype(int) for border in BORDERS)
    is_wrong_PF = rng.random((people, photos)) < WRONG_MASK
    mask_PF = np.where(is_wrong_PF, rng.integers(3, size=(people, photos)), STATES[None])
    return MASK_TASK.space.encode(mask_PF, (female_PF > 0).astype(int), band_PF).ravel()


def counts_of(crowd: Crowd, predicted_N: np.ndarray) -> Counts:
    """Person by person."""
    return count(crowd.person_N, crowd.label_N, predicted_N, MASK_TASK.space)


@cache
def truth(skill: float, people: int) -> float:
    """Macro F1 of a classifier of this skill on all people, mixed as in a validation split of ``people``."""
    rng = np.random.default_rng(20_261_125)
    share_C = cell_counts(people) / people
    sums = [np.zeros(18) for _ in range(3)]
    for cell, share in enumerate(share_C):
        crowd = Crowd(np.full(TRUTH_PEOPLE, cell), rng.normal(size=(TRUTH_PEOPLE, 2)))
        label_N, predicted_N = crowd.label_N, classify(rng, crowd, skill)
        tables = (label_N, predicted_N, label_N[label_N == predicted_N])
        for total, class_N in zip(sums, tables, strict=True):
            total += np.bincount(class_N, minlength=18) * share / TRUTH_PEOPLE
    return float(macro_f1(*sums))
