"""Photos that are on both sides of a split in two guises: an undeclared leak, told in the plan.

A **difference hash** finds candidates: the photo in gray, averaged to 8 rows of 9, one bit for each step to the right
that gets brighter (N. Krawetz, "Kind of Like That", hackerfactor.com/blog/index.php?/archives/529, 2013). Faces in one
pose and digits have close hashes without being copies, so a candidate counts only if its thumbnail of 16 x 16 agrees
too. Both are also taken without a margin of 2 %, so that a slightly cropped copy is found.

What the limits find and mistake, measured at 128 x 128 on 600 faces of 600 people (179,700 pairs), on the 1,797 digits
of scikit-learn drawn at 64 px (1,613,706 pairs) and on 40 parts of its two photos, sky and blurred ground among them;
in brackets with a hash alone, within 4 bits:

==================================  ===========  ===============  ============
                                    faces        digits           parts
==================================  ===========  ===============  ============
pairs of others taken for copies    0 (6)        8 (6,588)        0 (6)
JPEG of quality 75                  100 (100) %  100 (100) %      98 (98) %
JPEG of quality 30                  100 (100) %  100 (100) %      88 (70) %
resized to half                     100 (100) %  100 (71) %       98 (93) %
2 % cropped on all sides            100 (54) %   100 (94) %       95 (68) %
2 % cropped on one side             68 (75) %    100 (98) %       70 (78) %
brighter by 20 %, clipped           98 (99) %    99 (96) %        85 (85) %
darker by 20 %                      100 (100) %  100 (100) %      95 (100) %
more contrast by 20 %               100 (100) %  100 (100) %      98 (98) %
turned by 2 degrees                 42 (75) %    42 (15) %        33 (33) %
5 % cropped on all sides            1 (6) %      24 (20) %        40 (35) %
==================================  ===========  ===============  ============

Cost for 15,000 photos at 224 x 224, of which 3,000 validate: 5 s on two busy cores, photos in the disk's cache. Reading
and averaging grow with the photos, comparing with the pairs (2 s for 60 million; 30 s if all of them are alike).

Mirrored and turned copies are not looked for. Only the text of a plan rests on this: the last digits of a correlation
depend on the machine.

Shape suffixes: N photos, B of a batch, H W rows and columns, D pixels of a thumbnail, V T photos of either side.
"""

import heapq
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maskcls.data.dataset import Dataset
from maskcls.reading.found import shown
from maskcls.system.errors import count_of, some
from maskcls.system.files import write_text
from maskcls.tasks.task import PHOTO, Unit

BRIGHTER = 0.1
"""Gray levels, of 255, that make a bit: equal neighbours stay equal, whatever the last digits of their averages."""

MAX_BITS = 10
"""Bits of 64 in which the hashes of a candidate pair differ at most."""

MIN_CORRELATION = 0.985
"""Of the two thumbnails' pixels, for a pair that counts."""

MARGINS = (0.0, 0.02)
"""Parts of the width and of the height that are left out at every edge."""

ALIGNMENTS = ((0, 0), (0, 1), (1, 0))
"""Margins, by number, of the two photos that are compared: neither cropped, or one of them."""

FLAT = 3.0
"""Standard deviation of a thumbnail's gray levels, of 255, below which a photo is blank and like any other such."""

SIZE = 16
"""Rows and columns of a thumbnail."""

ENOUGH = 64
"""Rows and columns of pixels that the averages are taken of, at least, where a photo has so many."""

BATCH = 64
"""Photos read at a time: 10 MB at 224 x 224."""

BLOCK = 2**22
"""Pairs compared at a time."""

EXAMPLES = 5

VERSION = 1
"""Of the rules above: files that were written by another version are not used."""


@dataclass(frozen=True)
class NearDuplicates:
    """What ``near_duplicates`` found."""

    pairs: int
    """Pairs of a validation and a training photo that show the same."""
    valid_photos: int
    """Validation photos in such pairs."""
    of_valid: int
    """All validation photos."""
    examples: tuple[tuple[str, str], ...]
    """Paths of (validation photo, training photo), the most alike first."""
    blank: int
    """Photos of both sides that show next to nothing, and were not compared."""


@dataclass(frozen=True)
class _Prints:
    """What photos are compared by; the first axis is the margin left out."""

    hash_2N: np.ndarray
    """uint64."""
    thumbnail_2ND: np.ndarray
    """float32, mean 0 and length 1: their product is the correlation."""
    is_blank_N: np.ndarray


def near_duplicates(
    image_NCHW: np.ndarray, photos: pd.DataFrame, tick: Callable[[], None] = lambda: None
) -> NearDuplicates:
    """Pairs of photos across the split that show the same picture.

    ``image_NCHW``: uint8, may be memory-mapped; it is read once, in order. ``photos``: columns "path", "split" and
    "row", the row of each in it (dataset.load_photos). Photos of a group are on one side, so none need be left out.
    ``tick`` is called after every photo read.
    """
    valid, train = (photos[photos["split"] == side].sort_values("row") for side in ("valid", "train"))
    print_V, print_T = (_prints(image_NCHW, side["row"].to_numpy(), tick) for side in (valid, train))
    path_V, path_T = valid["path"].to_numpy(dtype=str), train["path"].to_numpy(dtype=str)
    pairs, examples = 0, list[tuple[float, str, str]]()
    is_concerned_V = np.zeros(len(valid), dtype=bool)
    for index_P, other_P, correlation_P in _alike(print_V, print_T):
        pairs += len(index_P)
        is_concerned_V[index_P] = True
        closest = np.argsort(-correlation_P, kind="stable")[:EXAMPLES]
        found = ((-float(correlation_P[p]), path_V[index_P[p]], path_T[other_P[p]]) for p in closest)
        examples = heapq.nsmallest(EXAMPLES, [*examples, *found])
    return NearDuplicates(
        pairs,
        int(is_concerned_V.sum()),
        len(valid),
        tuple((str(of_valid), str(of_train)) for _, of_valid, of_train in examples),
        int(print_V.is_blank_N.sum() + print_T.is_blank_N.sum()),
    )


def near_duplicates_of(dataset: Dataset, tick: Callable[[], None] = lambda: None) -> NearDuplicates:
    """``near_duplicates`` of a dataset, kept beside its decoded photos for the next command."""
    sides = ((side, getattr(dataset, side)) for side in ("valid", "train"))
    tables = [pd.DataFrame({"path": of.path_N, "row": of.row_N, "split": side}) for side, of in sides]
    place = _place(dataset)
    known = None if place is None else _read(place)
    if known is not None:
        return known
    found = near_duplicates(dataset.image_NCHW, pd.concat(tables), tick)
    if place is not None:
        with suppress(OSError):  # then the next command looks again
            write_text(place, json.dumps({"version": VERSION, **asdict(found)}, indent=1))
    return found


def _place(dataset: Dataset) -> Path | None:
    """The file for a dataset's near-duplicates, named by its photos, their size and sides; None if none are stored."""
    array = getattr(dataset.image_NCHW, "filename", None)
    return None if array is None else Path(array).with_suffix(f".{dataset.hash}.duplicates.json")


def _read(place: Path) -> NearDuplicates | None:
    """What a file holds; None for a missing or damaged one, and for one that was written by other rules."""
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
        if values.pop("version") != VERSION:
            return None
        examples = tuple((str(of_valid), str(of_train)) for of_valid, of_train in values.pop("examples"))
        return NearDuplicates(**values, examples=examples)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def near_duplicates_text(found: NearDuplicates, unit: Unit) -> str:
    """The sentences of a plan on ``near_duplicates``, empty for none. ``unit``: the word for a group."""
    if found.pairs == 0:
        return ""
    are = "is almost the same picture as" if found.valid_photos == 1 else "are almost the same pictures as"
    of_other, remedy = f" of another {unit.one}", f"give them the same {unit.one}"
    if unit == PHOTO:
        of_other, remedy = "", "say which photos belong together"
    examples = some(f"{shown(of_valid)} like {shown(of_train)}" for of_valid, of_train in found.examples[:2])
    return (
        f"{found.valid_photos:,} of {count_of(found.of_valid, 'validation photo')} {are} a training photo{of_other},"
        f" for example {examples}. Of copies the score counts what was learned by heart: remove them, or {remedy}."
    )


def _alike(print_V: _Prints, print_T: _Prints) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches of pairs that count: (index of the first, index of the second, their correlation)."""
    able_V, able_T = (np.flatnonzero(~prints.is_blank_N) for prints in (print_V, print_T))
    if len(able_T) == 0:
        return
    step = max(1, BLOCK // len(able_T))
    hash_2T, thumbnail_2TD = print_T.hash_2N[:, able_T], print_T.thumbnail_2ND[:, able_T]
    for start in range(0, len(able_V), step):
        rows = able_V[start : start + step]
        best_VT = np.zeros((len(rows), len(able_T)), dtype=np.float32)
        for ours, theirs in ALIGNMENTS:
            bits_VT = np.bitwise_count(print_V.hash_2N[ours, rows][:, None] ^ hash_2T[theirs])
            v_P, t_P = np.nonzero(bits_VT <= MAX_BITS)
            new_P = _correlations(print_V.thumbnail_2ND[ours, rows], thumbnail_2TD[theirs], v_P, t_P)
            best_VT[v_P, t_P] = np.maximum(best_VT[v_P, t_P], new_P)
        v_P, t_P = np.nonzero(best_VT >= MIN_CORRELATION)
        yield rows[v_P], able_T[t_P], best_VT[v_P, t_P]


def _correlations(one_VD: np.ndarray, other_TD: np.ndarray, v_P: np.ndarray, t_P: np.ndarray) -> np.ndarray:
    """Correlation of thumbnail v_P[i] of one side with t_P[i] of the other, float32 [P]."""
    if len(v_P) > len(one_VD) * len(other_TD) // 100:  # then one product of all is faster, and gathering takes memory
        return np.asarray((one_VD @ other_TD.T)[v_P, t_P])
    return np.einsum("pd,pd->p", one_VD[v_P], other_TD[t_P])


def _prints(image_NCHW: np.ndarray, row_N: np.ndarray, tick: Callable[[], None]) -> _Prints:
    """The prints of these rows of the array."""
    shape = (len(MARGINS), len(row_N))
    hash_2N, thumbnail_2ND = np.empty(shape, dtype=np.uint64), np.empty((*shape, SIZE * SIZE), dtype=np.float32)
    deviation_N = np.empty(len(row_N), dtype=np.float32)
    for start in range(0, len(row_N), BATCH):
        batch = slice(start, start + BATCH)
        gray_BHW = _gray(_thinned(image_NCHW[row_N[batch]]))
        for number, margin in enumerate(MARGINS):
            hash_2N[number, batch] = _difference_hash(_averaged(gray_BHW, 8, 9, margin))
            thumbnail_BD = _averaged(gray_BHW, SIZE, SIZE, margin).reshape(len(gray_BHW), -1)
            thumbnail_BD = thumbnail_BD - thumbnail_BD.mean(1, keepdims=True)
            deviation_B = np.sqrt(np.square(thumbnail_BD).mean(1))
            # no less than FLAT: without a margin a photo may be blank, and noise must not be blown up
            thumbnail_2ND[number, batch] = thumbnail_BD / (np.maximum(deviation_B, FLAT) * SIZE)[:, None]
            if margin == 0:
                deviation_N[batch] = deviation_B
        for _ in gray_BHW:
            tick()
    return _Prints(hash_2N, thumbnail_2ND, deviation_N < FLAT)


def _thinned(image_BCHW: np.ndarray) -> np.ndarray:
    """Every n-th pixel of photos of 2 * ENOUGH and more: an average over a cell needs no more."""
    step_H, step_W = (max(1, pixels // ENOUGH) for pixels in image_BCHW.shape[2:])
    return image_BCHW[:, :, ::step_H, ::step_W]


def _gray(image_BCHW: np.ndarray) -> np.ndarray:
    """Luma (ITU-R BT.601) of photos, float32 [B, H, W], 0..255."""
    red, green, blue = (image_BCHW[:, channel].astype(np.float32) for channel in range(3))
    return np.asarray(red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114))


def _difference_hash(gray_BHW: np.ndarray) -> np.ndarray:
    """uint64 [B] of pictures of 8 x 9."""
    bit_BP = (gray_BHW[:, :, 1:] - gray_BHW[:, :, :-1] > BRIGHTER).reshape(len(gray_BHW), 64)
    return np.packbits(bit_BP, axis=1).view(np.uint64)[:, 0]


def _averaged(gray_BHW: np.ndarray, rows: int, columns: int, margin: float) -> np.ndarray:
    """Averages over the cells of a grid of the picture without this margin, float32 [B, rows, columns]."""
    _, height, width = gray_BHW.shape
    # photo by photo: of one large product OpenBLAS makes two threads' work, 80 times as slow on a busy machine
    return np.asarray(_weights(rows, height, margin) @ gray_BHW @ _weights(columns, width, margin).T)


def _weights(cells: int, pixels: int, margin: float) -> np.ndarray:
    """The part of each pixel in each of equal cells, rows summing to 1, float32 [cells, pixels]."""
    edges = np.linspace(margin * pixels, (1 - margin) * pixels, cells + 1)
    pixel = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weight = np.clip(overlap, 0, None)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)
