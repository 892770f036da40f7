"""Corrections of known label errors, applied on top of the folder names: the shipped list, or a user's own.

A row with only a person corrects that person's gender or age; a row with a photo corrects that photo's mask state.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd

from maskcls.reading.csv_file import read_csv
from maskcls.system.errors import UserError, count_of, one_line, some
from maskcls.tasks.mask import AGE_BANDS, GENDER, MASK, MASK_TASK, OLDEST

COLUMNS = ("person", "photo", "gender", "age", "mask")
SHIPPED = "the shipped list"


@dataclass(frozen=True)
class Fix:
    """One row of a list, with the photos that it corrects."""

    where: str
    """The list and the line, for messages."""
    row_N: np.ndarray
    """bool: the rows of the table that it corrects."""
    values: dict[str, int]
    """Column of the table (mask, gender, years) -> the right value."""


def fix_labels(photos: pd.DataFrame, label_fixes: str, note: Callable[[str], None]) -> pd.DataFrame:
    """``photos`` with corrected mask, gender and years, and the columns age and label made from them.

    ``label_fixes``: a CSV, "none", or "auto", the shipped list. ``note`` is called with what it changed, or why it
    was not applied. Raises UserError for a list that does not fit these photos or contradicts itself.
    """
    if label_fixes == "none":
        return _with_labels(photos)
    if label_fixes == "auto":
        return _apply_shipped(photos, note)
    path = Path(label_fixes)
    if not path.is_file():
        raise UserError(f"There is no file {path}; --label-fixes takes a CSV with {', '.join(COLUMNS)}, or none.")
    return _apply(photos, _locate(photos, read_csv(path, COLUMNS), str(path)), str(path), note)


def _apply_shipped(photos: pd.DataFrame, note: Callable[[str], None]) -> pd.DataFrame:
    """Apply the shipped list if all of its ids occur: a few of them, such as 000020, occur in other datasets too."""
    with resources.as_file(resources.files("maskcls.reading") / "label_fixes.csv") as path:
        fixes = read_csv(path, COLUMNS)
    misfit = _misfit(photos, list(dict.fromkeys(fixes["person"])))
    if misfit:
        note(f"The shipped label fixes are not applied: {misfit}.")
        return _with_labels(photos)
    present = set(zip(photos["id"], photos["stem"], strict=True))
    listed = zip(fixes["person"], fixes["photo"], strict=True)
    is_absent = np.array([photo != "" and (person, photo) not in present for person, photo in listed])
    absent = (fixes["person"] + " " + fixes["photo"])[is_absent].tolist()
    return _apply(photos, _locate(photos, fixes[~is_absent], SHIPPED), SHIPPED, note, absent)


def _misfit(photos: pd.DataFrame, people: Sequence[str]) -> str:
    """Why the shipped list does not belong to these photos; empty when it does."""
    existing = set(photos["id"])
    absent = [identity for identity in people if identity not in existing]
    if len(absent) == len(people):
        return f"none of their {len(people)} people is in the folder"
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        return f"{some(absent, 3)} {verb} not in the folder. To fix the others, give their rows with --label-fixes"
    folders = photos.groupby("id")["person"].nunique()
    return some(f"id {identity} is {folders[identity]} people" for identity in people if folders[identity] > 1)


def _locate(photos: pd.DataFrame, fixes: pd.DataFrame, source: str) -> list[Fix]:
    """The fixes with the photos that they correct. Raises UserError for one without photos or with wrong values."""
    person_N, id_N = (photos[column].map(lambda name: normalize("NFC", name)) for column in ("person", "id"))
    located = []
    for line, cells in zip(fixes.index, fixes.to_dict("records"), strict=True):
        row = {column: cells[column].strip() for column in COLUMNS}
        where = f"{source}, line {line}"
        name, stem = normalize("NFC", row["person"]), row["photo"]
        if not name:
            raise UserError(f"{where} names no person; fill in an id or the name of a folder.")
        is_person_N = ((id_N == name) | (person_N == name)).to_numpy()
        folders = photos.loc[is_person_N, "person"].unique()
        if len(folders) > 1:
            raise UserError(f"{where}: id {name} is {len(folders)} people; name the folder: {some(folders)}.")
        row_N = is_person_N & ((photos["stem"] == stem).to_numpy() | (stem == ""))
        if not row_N.any():
            photo = one_line(f"{name} {stem}")
            raise UserError(f"{where}: there is no photo {photo} in this dataset.{_hint(photos, name, stem)}")
        located.append(Fix(where, row_N, _values(row, where)))
    return located


def _hint(photos: pd.DataFrame, name: str, stem: str) -> str:
    """What the user probably meant by a photo that does not exist; empty without a guess."""
    bare = os.path.splitext(stem)[0]  # noqa: PTH122 - of a name that is no path
    if bare != stem and bare in set(photos["stem"]):
        return f" Photos are named without their ending: {bare}."
    padded = sorted({identity for identity in photos["id"] if identity != name and identity.lstrip("0") == name})
    return f" Ids have leading zeros, which spreadsheets drop: {some(padded)}." if padded else ""


def _values(row: dict[str, str], where: str) -> dict[str, int]:
    """``Fix.values`` of a row. Raises UserError for cells that are no labels, or that belong to another kind of row."""
    values = {}
    for column, words in (("gender", GENDER.classes), ("mask", MASK.classes)):
        if row[column]:
            if row[column] not in words:
                raise UserError(f"{where}: {column} must be {' or '.join(words)}, not {row[column]!r}.")
            values[column] = words.index(row[column])
    if row["age"]:
        if not row["age"].isdecimal():
            raise UserError(f"{where}: age must be a whole number of years, not {row['age']!r}.")
        if float(row["age"]) > OLDEST:  # int refuses thousands of digits
            raise UserError(f"{where}: age must be at most {OLDEST} years, not {one_line(row['age'], 20)}.")
        values["years"] = int(row["age"])
    if row["photo"] and values.keys() - {"mask"}:
        raise UserError(f"{where}: gender and age belong to a person; leave photo empty for {row['person']}.")
    if "mask" in values and not row["photo"]:
        raise UserError(
            f"{where}: a mask state belongs to one photo; name it (mask1, incorrect_mask, normal, ...) for"
            f" {row['person']}."
        )
    return values


def _apply(
    photos: pd.DataFrame, fixes: Sequence[Fix], source: str, note: Callable[[str], None], absent: Sequence[str] = ()
) -> pd.DataFrame:
    """The photos after all fixes. ``absent``: photos of the list that do not exist, for the note."""
    _check_consistent(photos, fixes)
    fixed = photos.copy()
    for fix in fixes:
        for column, value in fix.values.items():
            fixed.loc[fix.row_N, column] = value
    before, after = _with_labels(photos), _with_labels(fixed)
    idle = sum(not _changes_any(photos, fix) for fix in fixes)
    note(_summary(before, after, source, idle, len(fixes), absent))
    return after


def _check_consistent(photos: pd.DataFrame, fixes: Sequence[Fix]) -> None:
    """Raise UserError when two rows give one photo different labels: the order of rows must not decide."""
    stated: dict[tuple[int, str], tuple[int, str]] = {}
    for fix in fixes:
        for row in np.flatnonzero(fix.row_N).tolist():
            for column, value in fix.values.items():
                earlier, where = stated.setdefault((row, column), (value, fix.where))
                if earlier != value:
                    what = "age" if column == "years" else column
                    raise UserError(
                        f"{fix.where} contradicts {where}: both give the {what} of {photos['path'].iloc[row]}, with"
                        " different values. Keep one of them."
                    )


def _changes_any(photos: pd.DataFrame, fix: Fix) -> bool:
    return any(bool((photos.loc[fix.row_N, column] != value).any()) for column, value in fix.values.items())


def _summary(
    before: pd.DataFrame, after: pd.DataFrame, source: str, idle: int, num_fixes: int, absent: Sequence[str]
) -> str:
    """What the fixes changed. ``idle``: number of rows that change nothing; ``absent``: photos that do not exist."""
    labels = int((before["label"] != after["label"]).sum())
    ages = int(((before["label"] == after["label"]) & (before["years"] != after["years"])).sum())
    parts = [f"{count_of(labels, 'label')} corrected by {source}"]
    parts += [f"the ages of {ages} more photos within their band"] if ages else []
    parts += [f"{idle} of its {num_fixes} rows {'changes' if idle == 1 else 'change'} nothing"] if idle else []
    parts += [f"{some(absent)} {'is' if len(absent) == 1 else 'are'} not in the folder"] if absent else []
    return "; ".join(parts) + "."


def _with_labels(photos: pd.DataFrame) -> pd.DataFrame:
    """``photos`` with the columns age and label, and rows numbered from 0."""
    age = AGE_BANDS.classes(photos["years"].to_numpy())
    label = MASK_TASK.space.encode(photos["mask"].to_numpy(), photos["gender"].to_numpy(), age)
    return photos.assign(age=age, label=label).reset_index(drop=True)
