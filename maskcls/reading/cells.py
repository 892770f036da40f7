"""Cells of a table's columns: which are missing, which are numbers, which hold several labels."""

import re

import numpy as np

from maskcls.reading.found import NUMBER, shown
from maskcls.system.errors import UserError, count_of

MISSING = frozenset({"", "NA", "N/A", "#N/A", "<NA>", "nan", "NaN", "NULL", "null"})
"""Cells that programs write for no value; ``none`` and ``unknown`` are classes."""

MOST_CLASSES_OF_FRACTIONS = 20
"""Numbers with fractions are classes, such as grades 0.5, 1 and 1.5, as far as there are no more of them."""


def is_missing(cell: str) -> bool:
    """Whether the cell has no value."""
    return cell.strip() in MISSING


def without_points(word_N: np.ndarray) -> np.ndarray:
    """str [N]: 1.0 as 1, where all are whole numbers: pandas writes them so once a cell was empty."""
    words = word_N.tolist()
    distinct = set(words)
    if any("." in word for word in distinct) and all(re.fullmatch(r"[+-]?\d+(\.0*)?", word) for word in distinct):
        return np.array([word.partition(".")[0] for word in words], dtype=str)
    return word_N


def is_continuous(word_N: np.ndarray) -> bool:
    """Whether these are measured numbers, with fractions and hardly two alike."""
    distinct = set(word_N.tolist())
    if not all(NUMBER.fullmatch(word) for word in distinct) or all(float(word).is_integer() for word in distinct):
        return False
    return len(distinct) > min(MOST_CLASSES_OF_FRACTIONS, len(word_N) / 2)


def check_label_cells(word_N: np.ndarray, column: str, origin: str) -> None:
    """Raise UserError for a column of measured numbers, and for one with several labels in a cell."""
    if is_continuous(word_N):
        raise UserError(
            f"A label must be a class, and {shown(column)} of {origin} holds measured numbers, such as"
            f" {shown(word_N[0])}. Cut them into bands, and write the band of every photo."
        )
    several = _several_labels(word_N)
    if several:
        raise UserError(
            f"{shown(column)} of {origin} holds several classes in {count_of(len(several), 'row')}, such as"
            f" {shown(several[0])}: photos with several labels (multi-label) are not supported. Keep the rows of one"
            " class, or make a column that says yes or no for one of them."
        )


def _several_labels(word_N: np.ndarray) -> list[str]:
    """The cells that hold several labels: as a list, or separated where most are, or by classes that stand alone."""
    words = word_N.tolist()
    lists = [word for word in words if word.startswith("[") and word.endswith("]")]
    if len(lists) > len(words) / 2:
        return lists
    alone = set(words)
    for separator in "|;,":
        parted = [word for word in words if separator in word.strip(separator)]
        known = [word for word in parted if alone.issuperset(part.strip() for part in word.split(separator))]
        if (separator != "," and len(parted) > len(words) / 2) or len(known) > len(parted) / 2:
            return parted
    return []
