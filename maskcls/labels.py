"""The labels of the mask task: 18 classes of (mask, gender, age), their names, and the age bands.

``label = mask * 6 + gender * 3 + age``; each of the four *tasks* (all 18 classes at once, or mask, gender
or age alone) is a map from the label to its own classes.

Shape suffixes, here and everywhere: B batch, N photos, K classes, C H W channels, rows, columns.
"""

from typing import TypeVar

import numpy as np

MASKS = ("worn", "incorrect", "not worn")
GENDERS = ("male", "female")
AGES = ("under 30", "30 to 59", "60 and over")
NUM_CLASSES = len(MASKS) * len(GENDERS) * len(AGES)

YOUNG_UNTIL, OLD_FROM = 30, 60
"""Ages in years at which the middle and the old band begin. Scoring never uses another ``OLD_FROM``."""

OLDEST = 120
"""Highest age in years that is accepted: some tables write 999 for an unknown age."""

PARTS = ("mask", "gender", "age")
"""The three tasks that make up a label, in the order of its digits."""

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "all": tuple(f"{mask}, {gender}, {age}" for mask in MASKS for gender in GENDERS for age in AGES),
    "mask": MASKS,
    "gender": GENDERS,
    "age": AGES,
}
"""Names of the K classes of each task."""

Ints = TypeVar("Ints", int, np.ndarray)


def encode(mask: Ints, gender: Ints, age: Ints) -> Ints:
    """Class 0..17 of a mask state, gender and age band (numbers or integer arrays of one shape)."""
    return mask * 6 + gender * 3 + age


def part_of(label: Ints, task: str) -> Ints:
    """The class within ``task`` of an 18-way label; ``task="all"`` returns the label itself."""
    if task == "mask":
        return label // 6
    if task == "gender":
        return label // 3 % 2
    if task == "age":
        return label % 3
    if task == "all":
        return label
    raise ValueError(f"No task named {task!r}. There are: {', '.join(CLASS_NAMES)}.")


def part_table(task: str) -> np.ndarray:
    """int64 [18]: entry k is the class within ``task`` of label k."""
    return np.asarray(part_of(np.arange(NUM_CLASSES), task))


def age_band(years_N: np.ndarray, old_from: int = OLD_FROM) -> np.ndarray:
    """Age band 0, 1 or 2 of each age in years. ``old_from`` other than 60 is for training labels only."""
    return (years_N >= YOUNG_UNTIL).astype(np.int64) + (years_N >= old_from).astype(np.int64)
