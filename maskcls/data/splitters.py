"""Which photos validate, for groups of any sizes: no group on both sides, a share of photos, every class on both.

A group is what must not be on both sides: a person, a patient, a site; where there is none, every photo is its own. Its
name stands in the column "person", whatever it is; messages speak of its *unit*, say ("patient", "patients").

Shape suffixes: N photos, G groups, K classes, M ways to divide the groups.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maskcls.scoring.counts import MIN_JUDGES
from maskcls.system.errors import UserError, count_of, some
from maskcls.tasks.task import Unit

PANDAS_STREAMING = "pandas-streaming"
"""split.split_by_person: a share of the groups of every class. A group counts as one, whatever its number of photos."""

STRATIFIED_GROUP = "stratified-group"
"""split_uneven: a share of the photos, of every class."""

GIVEN = "given"
"""The column "split" of the table."""

SPLITTERS = (PANDAS_STREAMING, STRATIFIED_GROUP, GIVEN)

SIDES = ("train", "valid", "test")

PEOPLE = Unit("person", "people")

TOLERANCE = 0.25
"""By which share of itself the smaller side may be larger or smaller than asked: .15 to .25 for a share of .2."""

LEAST_OF_CLASS = 0.5
"""Every class gives either side at least this share of what it should: to validation a tenth of its photos for .2."""

BLUR = 0.5
"""Least part of a group's photos that the placement of groups in folds is shown (group_folds)."""

TRIES = 50
"""Seeds tried before the best of them is taken."""

MAX_PLACED = 100_000
"""Groups placed in all tries together, some 50 microseconds each: 5 s. Only a hopeless split comes that far."""

MAX_EXHAUSTIVE = 12
"""So many groups or fewer: all 4,096 ways to divide them are looked at, rather than a few good ones."""

MOST_JUDGE = 0.4
"""The valid_share at which most groups judge a round: half of the training side, .3 of all."""


def choose_splitter(photos: pd.DataFrame) -> str:
    """The splitter for a table without one: STRATIFIED_GROUP for groups of different sizes, else PANDAS_STREAMING."""
    return STRATIFIED_GROUP if photos["person"].value_counts().nunique() > 1 else PANDAS_STREAMING


def balances_photos(photos: pd.DataFrame, splitter: str) -> bool:
    """Whether judges and subsets of a table split in this way are balanced by photos; else every group counts as one.

    A given split does not say: the sizes of its groups do.
    """
    return (choose_splitter(photos) if splitter == GIVEN else splitter) == STRATIFIED_GROUP


def split_given(photos: pd.DataFrame, unit: Unit = PEOPLE) -> pd.DataFrame:
    """The table itself, whose column "split" says the side of every photo.

    Raises UserError for a table without it, for other words than SIDES, for a side that is empty, and for a group on
    two sides.
    """
    if "split" not in photos:
        raise UserError(
            "The split of these photos is to be the one that the data gives, and the data gives none. Name the folder"
            " or the table that does, or begin a new study or a new run."
        )
    words = set(photos["split"].unique())
    if strange := words - set(SIDES):
        raise UserError(
            f"A split must be one of {', '.join(SIDES)}, not {some(sorted(map(repr, strange)))}; change those cells."
        )
    if lacking := [side for side in ("train", "valid") if side not in words]:
        raise UserError(
            f"A given split needs photos for training and for validation; there are none of: {some(lacking)}."
            " Add some, or leave the column out to have the photos split."
        )
    sides = photos.groupby("person")["split"].nunique()
    if (sides > 1).any():
        names = sorted(sides.index[sides > 1].astype(str))
        raise UserError(
            f"No {unit.one} may be on two sides of a split; the given one has {unit.count(len(names))} there:"
            f" {some(names)}. Move their photos to one side, or leave the column out to have the photos split."
        )
    return photos


def split_uneven(
    photos: pd.DataFrame, valid_share: float = 0.2, split_seed: int = 0, unit: Unit = PEOPLE
) -> tuple[pd.DataFrame, str]:
    """(``photos`` with a column "split": "train" or "valid"; a sentence if that is not as asked, else empty).

    As asked is a division whose share of photos is within TOLERANCE and where every class gives each side
    LEAST_OF_CLASS of its share; a class of a single group is learned, since it cannot be judged too. The first such
    division in a seeded order is taken. If there is none, the one with the fewest classes that are not learned, then
    the fewest not judged, then the fewest that fall short (the share of all photos counts as one), then the smallest
    distance of shares: that of all photos plus the classes' mean.

    Up to MAX_EXHAUSTIVE groups all divisions are looked at: of two groups one validates, of three one or two. For more,
    those that scikit-learn's StratifiedGroupKFold makes of TRIES seeded orders of the groups.
    The result depends on the names of the groups, their labels and the seed alone.
    Raises UserError for a single group.
    """
    if photos["person"].nunique() < 2:
        raise UserError(single_group_text(unit))
    counts = GroupCounts.of(photos["person"], photos["label"])
    best: tuple[float, ...] | None = None
    chosen_G = np.zeros(len(counts.names), dtype=bool)
    for valid_MG in _divisions(counts, valid_share, split_seed):
        fits_M, rank_MR = _judge(counts, valid_MG, valid_share)
        if fits_M.any():
            return _with_sides(photos, counts, valid_MG[np.argmax(fits_M)]), ""
        first = np.lexsort(rank_MR.T[::-1])[0]
        if best is None or tuple(rank_MR[first]) < best:
            best, chosen_G = tuple(rank_MR[first]), valid_MG[first]
    return _with_sides(photos, counts, chosen_G), _shortfall_text(counts, chosen_G, valid_share, unit)


def group_folds(photos_GK: np.ndarray, folds: int, seed: int | Sequence[int]) -> np.ndarray:
    """Fold 0..folds-1 of every group, int64 [G]: the photos of every class spread evenly over the folds.

    ``photos_GK``: photos of every group and class. ``folds``: at most the number of groups.
    Source: scikit-learn's StratifiedGroupKFold, a greedy placement, the group of the most uneven counts first. Seeds
    only order groups of equal counts there, and large groups never have equal ones: of 40 patients all seeds made the
    same folds. So each group is shown to it with a random part of its photos, BLUR at least.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(seed)
    order = rng.permutation(len(photos_GK))
    part_G = rng.uniform(BLUR, 1, len(photos_GK))
    group_N, class_N = _rows(np.ceil(photos_GK[order] * part_G[:, None]).astype(np.int64))
    if np.bincount(class_N).max() < folds:  # refused by scikit-learn; nothing to stratify by
        class_N = np.zeros_like(class_N)
    fold_G = np.empty(len(photos_GK), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with few photos, which the plan tells in our words
        for fold, (_, rows) in enumerate(StratifiedGroupKFold(folds).split(group_N, class_N, group_N)):
            fold_G[order[group_N[rows]]] = fold
    return rng.permutation(folds)[fold_G]  # the largest group is always placed first, in fold 0


def random_ranks(person_N: pd.Series, seed: int | Sequence[int]) -> np.ndarray:
    """Random rank of every row's person, int64 [N]; it depends on the set of names and the seed alone."""
    names, index_N = np.unique(person_N.to_numpy(dtype=str), return_inverse=True)
    return np.random.default_rng(seed).permutation(len(names))[index_N]


def lonely_classes(photos: pd.DataFrame) -> dict[int, str]:
    """Class -> the only group with photos of it: such a class can be learned or judged, not both."""
    pairs = photos[["label", "person"]].drop_duplicates()
    alone = pairs[~pairs["label"].duplicated(keep=False)].sort_values("label")
    return dict(zip(alone["label"].astype(int), alone["person"].astype(str), strict=True))


def lonely_text(lonely: Mapping[int, str], class_names: Sequence[str], unit: Unit = PEOPLE) -> str:
    """The sentences of a plan on ``lonely_classes``; empty for none."""
    if not lonely:
        return ""
    one = len(lonely) == 1
    names = some(f"{class_names[label]} ({group})" for label, group in lonely.items())
    return (
        f"{count_of(len(lonely), 'class is', 'classes are')} shown by a single {unit.one}{'' if one else ' each'}:"
        f" {names}. To be learned and judged, a class needs {unit.many} on both sides."
        f" Add {unit.many} that show {'it' if one else 'them'}, or leave the {'class' if one else 'classes'} out."
    )


def too_few_judges(photos: pd.DataFrame, side: str = "valid") -> int | None:
    """The number of groups on this side if it is below MIN_JUDGES, else None."""
    judges = photos.loc[photos["split"] == side, "person"].nunique()
    return judges if judges < MIN_JUDGES else None


def too_few_text(judges: int, unit: Unit, of: int, valid_share: float, since: int = 0) -> str:
    """The sentences of a plan on ``too_few_judges``. ``of``: all groups; ``valid_share``: the config's; ``since``: the
    number of the first round with too few, before which there may be a verdict: it takes two rounds."""
    judge, when = "judges" if judges == 1 else "judge", f" FROM ROUND {since} ON" if since > 1 else ""
    which = "it" if since > 1 else "a round"
    would_do = valid_share < MOST_JUDGE and (1 - MOST_JUDGE) * of / 2 >= MIN_JUDGES
    raised = f", or begin a study where more of them judge: --set valid_share={MOST_JUDGE}" if would_do else ""
    return (
        f"NO VERDICT{when}: only {unit.count(judges)} {judge} {which}, and a verdict needs {MIN_JUDGES}."
        f" Add {unit.many}{raised}."
    )


def single_group_text(unit: Unit) -> str:
    """Why photos of a single group cannot be split."""
    return f"A split by {unit.one} needs at least two {unit.many}; the photos show only one. Add {unit.many}."


@dataclass(frozen=True)
class GroupCounts:
    """Photos of every group and class."""

    names: np.ndarray
    """The groups' names in order, text [G]."""
    label_K: np.ndarray
    """The labels that occur."""
    photos_GK: np.ndarray
    """int64."""

    @property
    def is_lonely_K(self) -> np.ndarray:
        """Which classes a single group has."""
        return np.asarray((self.photos_GK > 0).sum(0) == 1)

    @property
    def may_validate_G(self) -> np.ndarray:
        """All groups but those whose class no other has; if there is no other group, all."""
        learned_G = (self.photos_GK[:, self.is_lonely_K] > 0).any(1)
        return np.asarray(np.ones_like(learned_G) if learned_G.all() else ~learned_G)

    @staticmethod
    def of(person_N: pd.Series, label_N: pd.Series) -> "GroupCounts":
        """Counts of photos of these groups and classes; the classes may be any keys that sort."""
        names, group_N = np.unique(person_N.to_numpy(dtype=str), return_inverse=True)
        label_K, class_N = np.unique(label_N.to_numpy(), return_inverse=True)
        flat = np.bincount(group_N * len(label_K) + class_N, minlength=len(names) * len(label_K))
        return GroupCounts(names, label_K, flat.reshape(len(names), len(label_K)))


def _divisions(counts: GroupCounts, valid_share: float, split_seed: int) -> Iterator[np.ndarray]:
    """Batches of divisions, best known way first: bool [M, G], whether each group validates."""
    may_G = counts.may_validate_G
    able = np.flatnonzero(may_G)
    if len(able) <= MAX_EXHAUSTIVE:
        valid_MG = np.zeros((2 ** len(able), len(may_G)), dtype=bool)
        valid_MG[:, able] = np.arange(len(valid_MG))[:, None] >> np.arange(len(able)) & 1
        valid_MG = valid_MG[valid_MG.any(1) & ~valid_MG.all(1)]
        yield np.random.default_rng(split_seed).permutation(valid_MG)
        return
    photos_GK = counts.photos_GK[able]
    share = min(valid_share * counts.photos_GK.sum() / photos_GK.sum(), max(valid_share, 0.9))
    taken, folds = _fraction(share, len(able))
    for attempt in range(max(1, min(TRIES, MAX_PLACED // (len(able) * folds)))):
        fold_G = np.full(len(may_G), -1)
        fold_G[able] = group_folds(photos_GK, folds, [split_seed, attempt + 1])
        yield np.array([np.isin(fold_G, (first + np.arange(taken)) % folds) for first in range(folds)])


def _rows(photos_GK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(group, class) of every photo of a table of counts, int64 [N] each."""
    groups, classes = np.nonzero(photos_GK)
    times = photos_GK[groups, classes]
    return np.repeat(groups, times), np.repeat(classes, times)


def _fraction(share: float, most: int) -> tuple[int, int]:
    """(m, n): the fewest folds n of which m are a share within a twentieth of what the smaller side should be."""
    for folds in range(2, most):
        taken = round(share * folds)
        if 0 < taken < folds and abs(taken / folds - share) <= 0.05 * min(share, 1 - share):
            return taken, folds
    return min(max(1, round(share * most)), most - 1), most


def _judge(counts: GroupCounts, valid_MG: np.ndarray, valid_share: float) -> tuple[np.ndarray, np.ndarray]:
    """(whether each division is as asked, bool [M]; the numbers by which others are ranked, lowest first, [M, 4])."""
    valid_MK = valid_MG.astype(np.float64) @ counts.photos_GK
    total_K = counts.photos_GK.sum(0)
    lonely_K = counts.is_lonely_K
    share_MK, share_M = valid_MK / total_K, valid_MK.sum(1) / total_K.sum()
    fits_MK = (share_MK >= LEAST_OF_CLASS * valid_share) & (1 - share_MK >= LEAST_OF_CLASS * (1 - valid_share))
    fits_MK = np.where(lonely_K, valid_MK == 0, fits_MK)
    off_M = np.abs(share_M - valid_share)
    missed_M = (~fits_MK).sum(1) + (off_M > TOLERANCE * min(valid_share, 1 - valid_share) + 1e-12)
    unlearned_M, unjudged_M = (valid_MK == total_K).sum(1), ((valid_MK == 0) & ~lonely_K).sum(1)
    distance_M = off_M + np.abs(share_MK - valid_share).mean(1)
    # rounded: the last digits depend on the machine, and must not decide
    return missed_M == 0, np.stack([unlearned_M, unjudged_M, missed_M, distance_M.round(9)], axis=1)


def _with_sides(photos: pd.DataFrame, counts: GroupCounts, valid_G: np.ndarray) -> pd.DataFrame:
    is_valid = np.isin(photos["person"].to_numpy(dtype=str), counts.names[valid_G])
    return photos.assign(split=np.where(is_valid, "valid", "train"))


def _shortfall_text(counts: GroupCounts, valid_G: np.ndarray, valid_share: float, unit: Unit) -> str:
    """What a division gives that is not as asked, with the numbers and the remedy."""
    total_K = counts.photos_GK.sum(0)
    share_K = counts.photos_GK[valid_G].sum(0) / total_K
    judged = share_K[~counts.is_lonely_K]
    span = f", of the classes {_percent(judged.min())} to {_percent(judged.max())}" if len(judged) else ""
    share = counts.photos_GK[valid_G].sum() / total_K.sum()
    return (
        f"The {unit.many} differ too much to be split as asked: {_percent(share)} of the photos validate{span}, where"
        f" {_percent(valid_share)} was asked ({unit.count(int(valid_G.sum()))} of {len(valid_G)})."
        f" Add {unit.many}, or choose another valid_share."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
