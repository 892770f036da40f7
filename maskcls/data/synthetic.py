"""Synthetic datasets of cartoon faces in the layout of the mask task, for studies without data and for tests.

One effect is **planted**: the strong cue of gender has a handedness. The fringe of most men falls to the right of
the picture, that of most women to the left, and a flip exchanges the two. So random horizontal flip *hurts* on these
photos, and a search over it that does not find this is broken. It says nothing about real faces. The only other cue
of gender is the length of the hair, a very weak one.

All else is meant to be like the real photos. The mask is nearly solved; the age, which shows in grey hair and in
wrinkles that a mask partly hides, is not. Skin, hair, clothes, backdrop and the errors of the cues are the same in all
seven photos of a person, so that a split by photo looks better than it is.
"""

import csv
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from maskcls.data.faces import HAIR_TONES, SKIN_TONES, Person, between, draw_photo, tint
from maskcls.system.errors import UserError
from maskcls.tasks.mask import GENDER

STATES = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")
"""The seven photos of a person: five with the mask worn, one with it worn wrongly, one without."""

CELLS = ((0, 18, 29), (0, 30, 59), (0, 60, 75), (1, 18, 29), (1, 30, 59), (1, 60, 75))
"""(gender, youngest, oldest) of the six groups of people, ages in years."""

CELL_SHARES = np.array([22, 16, 10, 29, 33, 10]) / 120
"""Near the real shares, except for old men: 4 % in reality, too few for a small set."""

MIN_PER_CELL = 10
"""People per cell: a fifth is two, so that neither side of a split by person lacks a class."""

RACES = ("Asian", "African", "European", "Others")
"""Only in the names of folders: nothing in a picture depends on them."""

WRONG_SIDE = 0.02
"""Share of people whose fringe falls to the side of the other gender."""

AGE_ERROR = 3.0
"""Standard deviation in years by which hair and, independently, skin look older or younger than the person is."""

TRAIN, EVAL = 0, 1  # in the key of every generator, so that the eval folder shows other people


def draw_dataset(folder: Path, seed: int = 0, num_people: int = 120, size: int = 96) -> Path:
    """Draw ``train.csv`` and ``images/<id>_<gender>_<race>_<age>/<state>.<ext>``, seven photos per person.

    The bytes are a function of (seed, num_people, size). The folder appears whole or not at all, and two processes may
    draw it at once. One that holds a train.csv is returned as it is, whatever arguments it was drawn with.
    Raises UserError for fewer than 60 people, fewer than 32 pixels, or a folder with other files in it.
    """
    if num_people < MIN_PER_CELL * len(CELLS):
        raise UserError(
            f"num_people must be at least {MIN_PER_CELL * len(CELLS)}, not {num_people}: every gender and age band"
            f" needs {MIN_PER_CELL}. Draw more of them."
        )

    def draw(into: Path) -> None:
        people = _people(seed, TRAIN, num_people, MIN_PER_CELL)
        for index, person in enumerate(people):
            home = into / "images" / person.folder
            home.mkdir(parents=True)
            for number, state in enumerate(STATES):
                rng = _generator(seed, TRAIN, index, number)
                _save(draw_photo(person, state, rng, size), home / (state + _extension(rng)))
        rows = [(p.id, GENDER.classes[p.gender], p.race, p.age, p.folder) for p in people]
        _write_csv(into / "train.csv", ("id", "gender", "race", "age", "path"), rows)

    return _draw_once(folder, "train.csv", size, draw)


def draw_eval(folder: Path, seed: int = 0, num_people: int = 12, size: int = 96) -> Path:
    """Draw ``info.csv`` (ImageID, ans = 0) and ``images/<40 hex digits>.jpg`` of people who are in no train folder.

    As ``draw_dataset``. Raises UserError for no people, fewer than 32 pixels, or a folder with other files in it.
    """
    if num_people < 1:
        raise UserError(f"num_people must be at least 1, not {num_people}; draw more of them.")

    def draw(into: Path) -> None:
        (into / "images").mkdir(parents=True)
        names = []
        for index, person in enumerate(_people(seed, EVAL, num_people, at_least=0)):
            for number, state in enumerate(STATES):
                rng = _generator(seed, EVAL, index, number)
                names.append(rng.bytes(20).hex() + ".jpg")
                _save(draw_photo(person, state, rng, size), into / "images" / names[-1])
        _write_csv(into / "info.csv", ("ImageID", "ans"), [(name, 0) for name in sorted(names)])

    return _draw_once(folder, "info.csv", size, draw)


def _draw_once(folder: Path, marker: str, size: int, draw: Callable[[Path], None]) -> Path:
    """Let ``draw`` fill a sibling of ``folder``, and rename that to it; if ``folder / marker`` exists, do nothing."""
    if size < 32:
        raise UserError(f"size must be at least 32 pixels, not {size}; smaller faces do not show their cues.")
    is_taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if (folder / marker).exists():  # checked after is_taken: another process may finish in between
        return folder
    if is_taken:
        raise UserError(f"{folder} holds other files and no {marker}; name a new folder or remove that one.")
    sibling = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"  # not mkdtemp, which only its owner can read
    try:
        sibling.mkdir(parents=True)
        draw(sibling)
        sibling.rename(folder)
    except OSError:
        if not (folder / marker).exists():  # otherwise another process was first, with the same photos
            raise
    finally:
        shutil.rmtree(sibling, ignore_errors=True)
    return folder


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _save(image_HWC: np.ndarray, path: Path) -> None:
    Image.fromarray(image_HWC).save(path, quality=90)  # PNG ignores the quality


def _extension(rng: np.random.Generator) -> str:
    """A random ending, mostly .jpg as in the real folder."""
    return str(rng.choice([".jpg", ".jpeg", ".png"], p=[0.95, 0.025, 0.025]))


def _generator(*key: int) -> np.random.Generator:
    """An independent generator for every key of up to four numbers."""
    # plus one: numpy pads short keys with zeros, so that (0, 1) and (0, 1, 0) would be the same
    return np.random.default_rng([number + 1 for number in key])


# --- people ---------------------------------------------------------------------------------------------------------


def _people(seed: int, part: int, num_people: int, at_least: int) -> list[Person]:
    """People in random order of cells, ``at_least`` in each; every person is drawn from a generator of their own."""
    cells = _generator(seed, part).permutation(_cells(num_people, at_least))
    return [_person(index, CELLS[cell], _generator(seed, part, index)) for index, cell in enumerate(cells)]


def _cells(num_people: int, at_least: int) -> np.ndarray:
    """Cell of every person: first ``at_least`` in each, then always one more in the cell that lacks the most."""
    counts = np.full(len(CELLS), at_least)
    while counts.sum() < num_people:
        counts[np.argmax(CELL_SHARES * num_people - counts)] += 1
    return np.repeat(np.arange(len(CELLS)), counts)


def _person(index: int, cell: tuple[int, int, int], rng: np.random.Generator) -> Person:
    """The person with this index, of a random age within the cell and random features."""
    gender, youngest, oldest = cell
    age = int(rng.integers(youngest, oldest + 1))
    hair_age, skin_age = age + AGE_ERROR * rng.standard_normal(2)
    direction = (1 if gender == 0 else -1) * (-1 if rng.random() < WRONG_SIDE else 1)
    return Person(
        id=f"{10001 + index:06d}",  # beyond the ids of the real photos, so that no fix of their labels applies
        gender=gender,
        race=str(rng.choice(RACES)),
        age=age,
        slope=direction * rng.uniform(0.6, 1.0),
        hair_length=rng.normal(0.25 if gender == 0 else 0.4, 0.4),
        # in two steps, at the borders of the bands: from so few people a network hardly learns an even slope
        grey=float(np.interp(hair_age, [22, 38, 52, 68], [0, 0.5, 0.5, 1])),
        wrinkles=float(np.clip((skin_age - 22) / 45, 0, 1)),
        skin=tint(between(SKIN_TONES, rng), 0.03, rng),
        hair=tint(between(HAIR_TONES, rng), 0.03, rng),
        iris=rng.uniform(0.1, 0.6, 3),
        clothes=rng.uniform(0.1, 0.9, 3),
        backdrop=(tint(np.full(3, 0.6), 0.15, rng), tint(np.full(3, 0.6), 0.15, rng)),
        waves=np.array([*rng.normal(0, 1.5, 2), rng.uniform(0, 2 * np.pi)]),
        place=np.array([*rng.normal(0.5, [0.03, 0.02]), rng.uniform(0.36, 0.42)]),
    )
