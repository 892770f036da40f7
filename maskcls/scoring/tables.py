"""Tables of photos by person and class, of which few cells are filled where there are many classes.

A small table is an array. A large one is kept as rows of its filled cells (scipy's CSR): 3,000 photos in 500 classes
are 12 MB as an array and .05 MB as rows.

Shape suffixes: P people, K classes, U people with different rows, X any number of sets of people.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]

Table: TypeAlias = "Floats | csr_array"
"""Photos [P, K]."""

DENSE_CELLS = 250_000
"""Most cells of a table that is an array. Sums of rows may differ in their last digits from sums of an array, so tables
of up to 13,000 people in 18 classes stay what they were."""

BLOCK_CELLS = 2_000_000
"""About so many numbers (16 MB) are worked on at once."""


def tabulate(place_N: NDArray[np.int64], people: int, classes: int) -> Table:
    """The table of photos whose cells are numbered ``person * classes + class``."""
    if people * classes <= DENSE_CELLS:
        flat = np.bincount(place_N, minlength=people * classes)
        return flat.reshape(people, classes).astype(np.float64)
    filled, photos = np.unique(place_N, return_counts=True)
    return _rows(filled // classes, filled % classes, photos.astype(np.float64), people, classes)


def spread(table_PK: Table, index_P: NDArray[np.int64], people: int) -> Table:
    """The table with row p moved to row ``index_P[p]`` of so many; the other rows are empty."""
    classes = table_PK.shape[1]
    if isinstance(table_PK, np.ndarray):
        person_X, class_X = np.nonzero(table_PK)
        photos_X = table_PK[person_X, class_X]
    else:
        cells = table_PK.tocoo()
        person_X, class_X, photos_X = cells.row, cells.col, cells.data
    if people * classes > DENSE_CELLS:
        return _rows(index_P[person_X], class_X, photos_X, people, classes)
    spread_PK = np.zeros((people, classes))
    spread_PK[index_P[person_X], class_X] = photos_X
    return spread_PK


def _rows(person_X: np.ndarray, class_X: np.ndarray, photos_X: Floats, people: int, classes: int) -> "csr_array":
    from scipy.sparse import csr_array  # few tasks need it, and it is loaded in every command

    return csr_array((photos_X, (person_X, class_X)), shape=(people, classes))


def as_array(table: Table) -> Floats:
    """The table, or rows of it, as an array."""
    return table if isinstance(table, np.ndarray) else np.asarray(table.toarray())


def product(weight_XP: Floats, table_PK: Table) -> Floats:
    """Sums of the rows, weighted: [K] for weights [P], else [X, K]."""
    if isinstance(table_PK, np.ndarray) or weight_XP.ndim == 1:
        return np.asarray(weight_XP @ table_PK)
    step = max(1, BLOCK_CELLS // max(table_PK.shape))  # scipy copies the weights
    return np.concatenate([weight_XP[start : start + step] @ table_PK for start in range(0, len(weight_XP), step)])


def distinct(tables: "Sequence[csr_array]", weight_P: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(first_U, which_P): people who differ in a table's row or in weight, and which of them each person equals."""
    number_of: dict[tuple[object, ...], int] = {}
    first_U, which_P = [], np.empty(len(weight_P), np.int64)
    cells = [_cells(table) for table in tables]
    for person, weight in enumerate(weight_P.tolist()):
        key = (weight, *(part for each in cells for part in each[person]))
        if key not in number_of:
            first_U.append(person)
        which_P[person] = number_of.setdefault(key, len(number_of))
    return np.array(first_U, np.int64), which_P


def _cells(table: "csr_array") -> list[tuple[bytes, bytes]]:
    """The filled classes of every row, in their order, and their photos, as keys."""
    ordered = table.sorted_indices()
    borders = ordered.indptr.tolist()
    return [
        (ordered.indices[start:end].tobytes(), ordered.data[start:end].tobytes()) for start, end in pairwise(borders)
    ]
