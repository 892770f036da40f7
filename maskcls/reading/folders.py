"""Folders of classes: ``DIR/<class>/**.jpg``, or such folders in train/ and valid/ (val/, validation/, test/)."""

import numpy as np
import pandas as pd

from maskcls.reading.found import SPLITS, Found, class_name, look_alikes, shown
from maskcls.reading.listing import Listing
from maskcls.system.errors import UserError, count_of, some
from maskcls.system.paths import as_text

DATASET_FILES = ("dataset_dict.json", "dataset_info.json", "state.json")
"""Files by which a folder of a Hugging Face dataset is known."""


def class_folders(listing: Listing) -> list[str]:
    """The folders of DIR, or of its splits, that hold pictures: the classes, if this is the layout."""
    levels = 1 + bool(split_folders(listing))
    places = {tuple(path.split("/")[:levels]) for path in listing.pictures if path.count("/") >= levels}
    splits = split_folders(listing)
    return sorted({names[-1] for names in places if not splits or names[0] in splits})


def split_folders(listing: Listing) -> dict[str, str]:
    """Folder of DIR -> its side of a given split; empty where DIR itself holds the classes.

    A class may be called train, too: it is a side of a split only with folders of pictures in it, and beside another
    side or alone.
    """
    inner: dict[str, set[str]] = {}
    for path in listing.pictures:
        first, _, rest = path.partition("/")
        if rest:
            inner.setdefault(first, set()).update([rest.partition("/")[0]] if "/" in rest else [])
    sides = {name: SPLITS[name.lower()] for name in inner if name.lower() in SPLITS}
    with_classes = {name: side for name, side in sides.items() if inner[name]}
    if not any(side == "train" and len(inner[name]) > 1 for name, side in with_classes.items()):
        return {}
    return with_classes if len(with_classes) > 1 or inner.keys() == sides.keys() else {}


def read_folders(listing: Listing) -> Found:
    """The pictures in the folders of classes, which may hold folders of their own.

    Raises UserError for broken links, for what is no regular file, and where there is no such picture.
    """
    _check_usable(listing)
    splits = split_folders(listing)
    levels = 2 if splits else 1
    rows, loose = [], []
    for path in listing.pictures:
        names = path.split("/")
        if len(names) <= levels or (splits and names[0] not in splits):
            loose.append(path)
        else:
            rows.append((path, class_name(names[levels - 1]), splits.get(names[0], "")))
    if not rows:
        raise UserError(f"There are no folders of pictures in {listing.folder}.{_hint(listing)}")
    paths, words, sides = map(list, zip(*rows, strict=True))
    sizes = [(listing.folder / path).stat().st_size for path in paths]
    photos = pd.DataFrame({"path": paths, "bytes": np.array(sizes, dtype=np.int64), "person": paths})
    if len(set(sides)) > 1:
        photos["split_given"] = sides
    notes = (
        *_notes(listing, splits, loose),
        *_inner_folders(listing, paths, levels),
        *look_alikes(words, str(listing.folder)),
    )
    return Found(photos, {"class": np.array(words)}, notes, origin=str(listing.folder))


def check_folders(listing: Listing) -> None:
    """Raise UserError where there is only one folder of pictures: often that holds the classes.

    And where the folders are train and valid or test, but not of classes: they are no classes either.
    """
    folders = class_folders(listing)
    if len(folders) > 1 and not split_folders(listing) and all(name.lower() in SPLITS for name in folders):
        raise UserError(
            f"{some(map(shown, folders))} in {listing.folder} are sides of a split, and do not hold folders of two"
            " classes. Make a folder for each class in them, or name a table of labels with --table."
        )
    if len(folders) == 1:
        raise UserError(
            f"A label needs at least two classes, and {listing.folder} holds one folder of pictures,"
            f" {shown(folders[0])}.{_hint(listing)}"
        )


def _check_usable(listing: Listing) -> None:
    for path, reason in sorted(listing.unusable.items()):
        raise UserError(f"{as_text(path)} in {listing.folder} {reason}; restore the photo, or remove it.")


def _hint(listing: Listing) -> str:
    """The folder that was probably meant, further down; else what is expected."""
    for folder in listing.folders:
        inner = {path[len(folder) + 1 :].partition("/")[0] for path in listing.pictures if _is_deep(path, folder)}
        if len(inner) > 1:
            return f" There are folders of pictures in {listing.folder / folder}; give that to --data."
    if any(path.rpartition("/")[2] in DATASET_FILES for path in listing.others):
        return f" It looks like a Hugging Face dataset: --data hf:{listing.folder} reads one."
    return " Make a folder for each class, or name a table of labels with --table."


def _is_deep(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/") and "/" in path[len(folder) + 1 :]


def _notes(listing: Listing, splits: dict[str, str], loose: list[str]) -> list[str]:
    depth = 1 if splits else 0
    homes = {path for path in listing.folders if path.count("/") == depth and (not splits or _first(path) in splits)}
    full = {"/".join(path.split("/")[: depth + 1]) for path in listing.pictures}
    kinds = (
        (listing.others, "file", "not a picture"),
        (loose, "picture", "in no folder of a class"),
        (sorted(homes - full), "folder", "without a picture in it"),
    )
    return [
        f"{count_of(len(paths), kind)} left out, {reason}: {some(map(shown, paths), 3)}."
        for paths, kind, reason in kinds
        if paths
    ]


def _inner_folders(listing: Listing, paths: list[str], levels: int) -> list[str]:
    """A note on classes whose pictures all lie in more folders than there are classes: those may be the classes.

    Or they are groups, such as patients; a few folders are neither.
    """
    inner: dict[str, set[str]] = {}
    for path in paths:
        *above, _ = path.split("/")
        inner.setdefault("/".join(above[:levels]), set()).add("/".join(above[levels : levels + 1]))
    num_classes = len({home.rpartition("/")[2] for home in inner})
    parted = {home: names for home, names in inner.items() if len(names) > num_classes and "" not in names}
    if not parted:
        return []
    classes = some((f"{shown(home)} ({len(names)} folders)" for home, names in sorted(parted.items())), 3)
    return [
        f"CAUTION: folders in a class are not told apart: {classes}. If they are the classes, give"
        f" {listing.folder / min(parted)} to --data; if each shows one subject, write a table with a column for"
        " --group."
    ]


def _first(path: str) -> str:
    return path.partition("/")[0]
