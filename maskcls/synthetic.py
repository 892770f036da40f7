"""Draws a dataset folder of cartoon faces in the layout of the mask task: the embedded default, and the tests' toy.

One effect is **planted**: the strong cue of gender has a handedness. The fringe of most men falls to the right of
the picture, that of most women to the left, and a flip exchanges the two. So random horizontal flip *hurts* on these
photos, and a search over it that does not find so is broken. This says nothing about real faces. Without the
fringe only the length of the hair tells, and that hardly.

All else is meant to be like the real photos. The mask is nearly solved; the age, told by grey hair and by wrinkles
that a mask hides in part, is not. Skin, hair, clothes, backdrop and the errors of the cues are a person's and return
in all seven photos, so that a split by photo looks better than it is.

Shape suffixes: H rows, W columns, C three colours in [0, 1]. Lengths on the face are in units of half its height:
(0, 0) is its centre, x points right, y down, the chin is at (0, 1).
"""

import csv
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from maskcls.errors import UserError
from maskcls.labels import GENDERS

STATES = ("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")
"""The seven photos of a person: five with the mask worn, one with it worn wrongly, one without."""

CELLS = ((0, 18, 29), (0, 30, 59), (0, 60, 75), (1, 18, 29), (1, 30, 59), (1, 60, 75))
"""(gender, youngest, oldest) of the six groups of people, ages in years."""

CELL_SHARES = np.array([22, 16, 10, 29, 33, 10]) / 120
"""Near the real shares, but for the old: 4 % of the men there, too few for a small set."""

MIN_PER_CELL = 10
"""People: a fifth of them is two, so that neither side of a split by person lacks a class."""

RACES = ("Asian", "African", "European", "Others")
"""Names for the third column only: nothing in a picture depends on them."""

WRONG_SIDE = 0.02
"""Share of people whose fringe falls to the side of the other gender."""

AGE_ERROR = 3.0
"""Years (standard deviation) by which hair, and by itself the skin, look older or younger than the person is."""

TRAIN, EVAL = 0, 1  # in the key of every generator, so that the eval folder shows other people

SKIN_TONES = np.array([[0.97, 0.84, 0.74], [0.90, 0.72, 0.58], [0.72, 0.52, 0.38], [0.48, 0.33, 0.25]])
HAIR_TONES = np.array([[0.10, 0.08, 0.08], [0.28, 0.17, 0.10], [0.38, 0.24, 0.13], [0.40, 0.18, 0.09]])
CLOTHS = np.array([[0.95, 0.96, 0.97], [0.55, 0.78, 0.92], [0.15, 0.16, 0.19], [0.60, 0.85, 0.75], [0.93, 0.66, 0.74]])
GREY, DARK, WHITE, LIPS = (np.array(c) for c in ([0.80] * 3, [0.12, 0.09, 0.09], [0.97] * 3, [0.72, 0.30, 0.30]))


def draw_dataset(folder: Path, seed: int = 0, num_people: int = 120, size: int = 96) -> Path:
    """Draw ``train.csv`` and ``images/<id>_<gender>_<race>_<age>/<state>.<ext>``, seven photos a person.

    A function of (seed, num_people, size), to the byte. The folder appears whole or not at all, and two processes may
    draw it at once. One that holds a train.csv is returned as it is, whatever the arguments it was drawn with.
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
                _save(_draw_photo(person, state, rng, size), home / (state + _extension(rng)))
        rows = [(p.id, GENDERS[p.gender], p.race, p.age, p.folder) for p in people]
        _write_csv(into / "train.csv", ("id", "gender", "race", "age", "path"), rows)

    return _draw_once(folder, "train.csv", size, draw)


def draw_eval(folder: Path, seed: int = 0, num_people: int = 12, size: int = 96) -> Path:
    """Draw ``info.csv`` (ImageID, ans = 0) and ``images/<40 hex digits>.jpg`` of people who are in no train folder."""
    if num_people < 1:
        raise UserError(f"num_people must be at least 1, not {num_people}; draw somebody.")

    def draw(into: Path) -> None:
        (into / "images").mkdir(parents=True)
        names = []
        for index, person in enumerate(_people(seed, EVAL, num_people, at_least=0)):
            for number, state in enumerate(STATES):
                rng = _generator(seed, EVAL, index, number)
                names.append(rng.bytes(20).hex() + ".jpg")
                _save(_draw_photo(person, state, rng, size), into / "images" / names[-1])
        _write_csv(into / "info.csv", ("ImageID", "ans"), [(name, 0) for name in sorted(names)])

    return _draw_once(folder, "info.csv", size, draw)


def _draw_once(folder: Path, marker: str, size: int, draw: Callable[[Path], None]) -> Path:
    """Let ``draw`` fill a sibling of ``folder`` and rename it; nothing to do where ``folder / marker`` exists."""
    if size < 32:
        raise UserError(f"size must be at least 32 pixels, not {size}; smaller faces do not show their cues.")
    is_taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if (folder / marker).exists():  # asked after is_taken: another process may finish in between
        return folder
    if is_taken:
        raise UserError(f"{folder} holds other files and no {marker}; name a new folder or remove that one.")
    sibling = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"  # not mkdtemp: that shuts out one's colleagues
    try:
        sibling.mkdir(parents=True)
        draw(sibling)
        sibling.rename(folder)
    except OSError:
        if not (folder / marker).exists():  # else another process was first, with the same photos
            raise
    finally:
        shutil.rmtree(sibling, ignore_errors=True)
    return folder


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _save(image_HWC: np.ndarray, path: Path) -> None:
    Image.fromarray(image_HWC).save(path, quality=90)  # PNG has no use for it


def _extension(rng: np.random.Generator) -> str:
    """Mostly .jpg, as in the real folder, whatever the photo shows."""
    return str(rng.choice([".jpg", ".jpeg", ".png"], p=[0.95, 0.025, 0.025]))


def _generator(*key: int) -> np.random.Generator:
    """A generator of its own for every key of up to four numbers."""
    # plus one: numpy fills a short key up with zeros, so that (0, 1) and (0, 1, 0) would be the same
    return np.random.default_rng([number + 1 for number in key])


# --- people ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """What the seven photos of a person share. Colours are float [3]."""

    id: str
    gender: int
    race: str
    age: int
    slope: float
    """Of the fringe: the chiral cue. Above 0 it falls to the right of the picture."""
    hair_length: float
    """The y at which the hair ends: the weak cue of gender."""
    grey: float
    """Greyness of the hair in [0, 1]."""
    wrinkles: float
    """Strength of the lines in [0, 1]."""
    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    clothes: np.ndarray
    backdrop: tuple[np.ndarray, np.ndarray]
    waves: np.ndarray
    """Of the backdrop: [frequency along x, along y, phase], in radians per face unit."""
    place: np.ndarray
    """[x, y] of the face's centre and half the face's height, as shares of the picture's side."""

    @property
    def folder(self) -> str:
        return f"{self.id}_{GENDERS[self.gender]}_{self.race}_{self.age}"


def _people(seed: int, part: int, num_people: int, at_least: int) -> list[Person]:
    """People in mixed order; each is drawn from a generator of their own."""
    cells = _generator(seed, part).permutation(_cells(num_people, at_least))
    return [_person(index, CELLS[cell], _generator(seed, part, index)) for index, cell in enumerate(cells)]


def _cells(num_people: int, at_least: int) -> np.ndarray:
    """Cell of every person: first ``at_least`` in each, then always one more in the cell that lacks most."""
    counts = np.full(len(CELLS), at_least)
    while counts.sum() < num_people:
        counts[np.argmax(CELL_SHARES * num_people - counts)] += 1
    return np.repeat(np.arange(len(CELLS)), counts)


def _person(index: int, cell: tuple[int, int, int], rng: np.random.Generator) -> Person:
    gender, youngest, oldest = cell
    age = int(rng.integers(youngest, oldest + 1))
    looks_hair, looks_skin = age + AGE_ERROR * rng.standard_normal(2)
    falls = (1 if gender == 0 else -1) * (-1 if rng.random() < WRONG_SIDE else 1)
    return Person(
        id=f"{10001 + index:06d}",  # beyond the ids of the real photos, so that no fix of their labels applies
        gender=gender,
        race=str(rng.choice(RACES)),
        age=age,
        slope=falls * rng.uniform(0.6, 1.0),
        hair_length=rng.normal(0.25 if gender == 0 else 0.4, 0.4),
        # in two steps, at the borders of the bands: from so few people a network hardly learns an even slope
        grey=float(np.interp(looks_hair, [22, 38, 52, 68], [0, 0.5, 0.5, 1])),
        wrinkles=float(np.clip((looks_skin - 22) / 45, 0, 1)),
        skin=_tint(_between(SKIN_TONES, rng), 0.03, rng),
        hair=_tint(_between(HAIR_TONES, rng), 0.03, rng),
        iris=rng.uniform(0.1, 0.6, 3),
        clothes=rng.uniform(0.1, 0.9, 3),
        backdrop=(_tint(np.full(3, 0.6), 0.15, rng), _tint(np.full(3, 0.6), 0.15, rng)),
        waves=np.array([*rng.normal(0, 1.5, 2), rng.uniform(0, 2 * np.pi)]),
        place=np.array([*rng.normal(0.5, [0.03, 0.02]), rng.uniform(0.36, 0.42)]),
    )


def _between(colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour between two random neighbours."""
    first, share = rng.integers(len(colours) - 1), rng.random()
    return _mix(colours[first], colours[first + 1], share)


def _tint(colour: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    return np.clip(colour + spread * rng.standard_normal(3), 0, 1)


def _mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return a + share * (b - a)


# --- shapes: each gives alpha_HW, how much of a pixel is covered, in [0, 1] -----------------------------------------


class Canvas:
    """A picture in the making, with the face's coordinates of its rows and columns."""

    def __init__(self, size: int, x: float, y: float, unit: float) -> None:
        """A square of ``size`` pixels; the face's centre and the length of its unit as shares of the side."""
        at = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x_1W = (at[None] - np.float32(x)) / np.float32(unit)
        self.y_H1 = (at[:, None] - np.float32(y)) / np.float32(unit)
        self.pixels = np.float32(size * unit)  # in one unit
        self.image_CHW = np.zeros((3, size, size), np.float32)

    def paint(self, alpha_HW: np.ndarray, colour: np.ndarray, strength: float = 1.0) -> None:
        self.image_CHW += np.float32(strength) * alpha_HW * (colour.astype(np.float32)[:, None, None] - self.image_CHW)

    def soft(self, inside_HW: np.ndarray) -> np.ndarray:
        """Alpha of a shape from how deep a pixel lies inside it, in units: an edge one pixel wide."""
        return np.clip(inside_HW * self.pixels + np.float32(0.5), 0, 1)

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> np.ndarray:
        radius_HW = np.sqrt(((self.x_1W - x) / rx) ** 2 + ((self.y_H1 - y) / ry) ** 2)
        return self.soft((1 - radius_HW) * min(rx, ry))

    def box(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        across_1W = np.minimum(self.x_1W - left, right - self.x_1W)
        return self.soft(np.minimum(across_1W, np.minimum(self.y_H1 - top, bottom - self.y_H1)))

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
        (x0, y0), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
        along_HW = np.clip(((self.x_1W - x0) * dx + (self.y_H1 - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        distance_HW = np.hypot(self.x_1W - x0 - along_HW * dx, self.y_H1 - y0 - along_HW * dy)
        return self.soft(width / 2 - distance_HW)


# --- photos ---------------------------------------------------------------------------------------------------------


def _draw_photo(person: Person, state: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """uint8 [H, W, C] of a person; ``rng`` holds what differs between their photos."""
    x, y, unit = person.place + rng.normal(0, [0.012, 0.012, 0.008])
    canvas = Canvas(size, x, y, unit)
    _draw_behind(canvas, person)
    _draw_face(canvas, person)
    _draw_wrinkles(canvas, person)
    _draw_fringe(canvas, person)
    if state != "normal":
        _draw_mask(canvas, state, rng)
    return _expose(canvas.image_CHW, rng)


def _hair_colour(person: Person) -> np.ndarray:
    return _mix(person.hair, GREY, person.grey)


def _draw_behind(canvas: Canvas, person: Person) -> None:
    """Backdrop, the hair behind the head, neck and shoulders."""
    along_x, along_y, phase = person.waves.astype(np.float32)
    wave_HW = 0.5 + 0.5 * np.sin(along_x * canvas.x_1W + along_y * canvas.y_H1 + phase)
    everywhere = np.ones_like(wave_HW)
    canvas.paint(everywhere, person.backdrop[0])
    canvas.paint(wave_HW, person.backdrop[1])
    canvas.paint(canvas.ellipse(0, -0.22, 0.92, 1.0), _hair_colour(person))
    canvas.paint(canvas.box(-0.92, -0.25, 0.92, person.hair_length), _hair_colour(person))
    canvas.paint(canvas.box(-0.3, 0.6, 0.3, 1.4), 0.88 * person.skin)
    canvas.paint(canvas.ellipse(0, 1.75, 1.2, 0.6), person.clothes)


def _draw_face(canvas: Canvas, person: Person) -> None:
    brow = _mix(_hair_colour(person), DARK, 0.4)
    canvas.paint(canvas.ellipse(0, 0, 0.76, 1.0), person.skin)
    for side in (-1, 1):
        canvas.paint(canvas.ellipse(0.76 * side, 0.05, 0.1, 0.18), 0.94 * person.skin)
        canvas.paint(canvas.ellipse(0.32 * side, -0.12, 0.16, 0.09), WHITE)
        canvas.paint(canvas.ellipse(0.32 * side, -0.12, 0.08, 0.09), person.iris)
        canvas.paint(canvas.line((0.16 * side, -0.32), (0.48 * side, -0.34), 0.06), brow)
    canvas.paint(canvas.line((0, -0.05), (0, 0.25), 0.05), 0.85 * person.skin)
    canvas.paint(canvas.ellipse(0, 0.27, 0.13, 0.07), 0.78 * person.skin)
    canvas.paint(canvas.ellipse(0, 0.58, 0.24, 0.07), LIPS)


def _draw_wrinkles(canvas: Canvas, person: Person) -> None:
    """Lines on the forehead, beside and under the eyes, and from the nose to the mouth, where a mask hides them."""
    lines = [((-0.3, y), (0.3, y)) for y in (-0.5, -0.42)]
    for side in (-1, 1):
        lines += [((0.2 * side, 0.02), (0.44 * side, 0.04)), ((0.52 * side, -0.1), (0.66 * side, -0.16))]
        lines += [((0.52 * side, -0.06), (0.66 * side, -0.02)), ((0.2 * side, 0.32), (0.36 * side, 0.56))]
    for start, end in lines:
        canvas.paint(canvas.line(start, end, 0.05), 0.4 * person.skin, person.wrinkles)


def _draw_fringe(canvas: Canvas, person: Person) -> None:
    """Hair over the forehead, down to a slanted line: the planted cue."""
    above_HW = person.slope * canvas.x_1W - 0.62 - canvas.y_H1
    fringe_HW = canvas.ellipse(0, -0.22, 0.86, 0.96) * canvas.soft(above_HW)
    canvas.paint(fringe_HW, _hair_colour(person))
    strands = DARK if _hair_colour(person).mean() > 0.4 else WHITE
    for depth in (0.08, 0.24, 0.4):
        canvas.paint(fringe_HW * canvas.soft(0.03 - abs(above_HW - depth)), strands, 0.4)


def _draw_mask(canvas: Canvas, state: str, rng: np.random.Generator) -> None:
    """From the bridge of the nose to the chin; worn wrongly it begins below the nose or below the mouth."""
    top = 0.08 + 0.03 * rng.standard_normal()
    if state == "incorrect_mask":
        top = rng.choice([0.4, 0.68]) + 0.03 * rng.standard_normal()
    colour = _tint(CLOTHS[rng.integers(len(CLOTHS))], 0.04, rng)
    cloth_HW = canvas.ellipse(0, 0.35, 0.74, 0.75) * canvas.box(-0.74, top, 0.74, 1.2)
    for side in (-1, 1):
        canvas.paint(canvas.line((0.6 * side, top + 0.1), (0.78 * side, 0.0), 0.04), 0.9 * colour)
    canvas.paint(cloth_HW, colour)
    for fold in (0.3, 0.55, 0.8):
        y = top + fold * (1.1 - top)
        canvas.paint(cloth_HW * canvas.line((-0.5, y), (0.5, y), 0.03), 0.85 * colour)


def _expose(image_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, light and grain of one photo; uint8 [H, W, C]."""
    blur = np.float32(rng.uniform(0, 1))
    for axis in (1, 2):
        image_CHW = image_CHW + blur / 4 * (np.roll(image_CHW, 1, axis) + np.roll(image_CHW, -1, axis) - 2 * image_CHW)
    light_C11 = (rng.uniform(0.85, 1.1) + 0.03 * rng.standard_normal((3, 1, 1))).astype(np.float32)
    grain_CHW = rng.standard_normal(image_CHW.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.025))
    exposed_CHW = np.clip(image_CHW * light_C11 + grain_CHW, 0, 1) * 255
    return (exposed_CHW + 0.5).astype(np.uint8).transpose(1, 2, 0)
