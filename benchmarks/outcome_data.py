"""The sets of photos of outcome.py: how each is read, and which groups nobody sees before the end.

Every set becomes one table (path, label, group), whatever its layout, and every arm gets parts of that table.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from maskcls.data.dataset import find_task
from maskcls.reading.source import SourceOptions, read_photos
from maskcls.system.errors import UserError

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, fill [0, 1) evenly (Weyl's sequence)."""


@dataclass(frozen=True)
class Photos:
    """Some photos of a set."""

    folder: Path
    table: pd.DataFrame
    """A row for every photo, texts: "path" (relative to the folder), "label", "group"."""

    @property
    def classes(self) -> list[str]:
        """The labels, sorted as ImageFolder sorts them."""
        return sorted(self.table["label"].unique())

    def of_groups(self, chosen: Sequence[str]) -> "Photos":
        """The photos of these groups."""
        return replace(self, table=self.table[self.table["group"].isin(set(chosen))].reset_index(drop=True))


def read_set(text: str, work: Path) -> tuple[str, Photos]:
    """(name, photos) of ``NAME=DIR``, or of ``digits`` alone, whose pictures are written to ``work``.

    ``signs`` and ``omniglot`` are read as their repositories hold them, and any other folder as search.run reads it.
    Raises UserError for a text of another form, and for a folder without such photos.
    """
    name, equals, place = text.partition("=")
    if name == "digits" and not equals:
        return name, _digits(work / "digits")
    if not (name and place):
        raise UserError(f"--set takes NAME=DIR, or digits alone, not {text!r}.")
    folder = Path(place).resolve()
    photos = READERS.get(name, _as_search_run_does)(folder)
    if photos.table["group"].nunique() < 2:
        raise UserError(f"There are no photos of two groups in {folder} for the set {name}.")
    return name, photos


def _digits(folder: Path) -> Photos:
    """scikit-learn's 1,797 digits, which name no writers: every picture is a group."""
    images, label_N = load_digits(return_X_y=True)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (pixels, label) in enumerate(zip(images, label_N, strict=True)):
        path = f"{number:04d}.png"
        if not (folder / path).exists():
            grey = np.clip(pixels.reshape(8, 8) * 16, 0, 255).astype(np.uint8)
            Image.fromarray(grey).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC).save(folder / path)
        rows.append((path, str(label), path))
    return Photos(folder, pd.DataFrame(rows, columns=["path", "label", "group"]))


def _signs(folder: Path) -> Photos:
    """github.com/ardamavi/Sign-Language-Digits-Dataset: Dataset/<digit>/IMG_<number>.JPG.

    Its README says that 218 students showed ten digits each. Nobody is named, but the photos are numbered as they were
    taken: a digit that is not greater than the one before begins another student. That makes 220 groups, 190 of ten.
    """
    numbered = []
    for path in (folder / "Dataset").glob("*/*.JPG"):
        if number := re.fullmatch(r"IMG_(\d+)", path.stem):
            numbered.append((int(number[1]), path.parent.name, f"Dataset/{path.parent.name}/{path.name}"))
    rows, student, before = [], 0, ""
    for _, digit, place in sorted(numbered):
        student += digit <= before
        before = digit
        rows.append((place, digit, f"student-{student:03d}"))
    return Photos(folder, pd.DataFrame(rows, columns=["path", "label", "group"]))


def _omniglot(folder: Path) -> Photos:
    """github.com/brendenlake/omniglot, unpacked archives: <archive>/<alphabet>/<character>/<image>_<drawer>.png.

    The label is the alphabet, the group its drawer: the twenty people who drew an alphabet are others for each. An
    alphabet that two archives have is taken once.
    """
    rows: dict[tuple[str, ...], tuple[str, str, str]] = {}
    for path in sorted(folder.glob("*/*/character*/*_*.png")):
        alphabet, drawer = path.parts[-3], path.stem.split("_")[1]
        rows.setdefault(path.parts[-3:], (path.relative_to(folder).as_posix(), alphabet, f"{alphabet} {drawer}"))
    return Photos(folder, pd.DataFrame(rows.values(), columns=["path", "label", "group"]))


def _as_search_run_does(folder: Path) -> Photos:
    """The mask task's layout, folders of classes, or the one table in the folder; a given split is not looked at."""
    task = find_task(folder, SourceOptions())
    photos = read_photos(folder, task)
    names = [name.replace("/", "-") for name in task.space.names]
    label = [names[number] for number in photos["label"]]
    return Photos(folder, pd.DataFrame({"path": photos["path"], "label": label, "group": photos["person"].astype(str)}))


READERS = {"signs": _signs, "omniglot": _omniglot}


def deal(
    group_N: np.ndarray, label_N: np.ndarray, shares: Sequence[float], rng: np.random.Generator
) -> list[list[str]]:
    """The groups in parts of these shares, what the shares leave (if they sum up to less than 1) in none.

    Groups with the same set of labels are spread evenly over the parts.
    """
    ordered = np.array(by_stratum(group_N, label_N, rng))
    place_G = (rng.random() + GOLDEN * np.arange(len(ordered))) % 1
    part_G = np.searchsorted(np.cumsum(shares), place_G, side="right")
    return [ordered[part_G == part].tolist() for part in range(len(shares))]


def by_stratum(group_N: np.ndarray, label_N: np.ndarray, rng: np.random.Generator) -> list[str]:
    """The groups, those with the same set of labels side by side, in random order among themselves."""
    pairs = pd.DataFrame({"group": group_N, "label": label_N}).drop_duplicates().sort_values(["group", "label"])
    stratum = pairs.groupby("group")["label"].agg(lambda labels: " ".join(map(str, labels)))
    table = pd.DataFrame({"stratum": stratum, "rank": rng.permutation(len(stratum))})
    return table.sort_values(["stratum", "rank"]).index.astype(str).tolist()
