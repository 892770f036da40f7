"""Drawing of one cartoon face, from the features of a person and the random variation of a photo.

Shape suffixes: H rows, W columns, C three colours in [0, 1]. Lengths on the face are in units of half its height:
(0, 0) is its centre, x points right, y down, the chin is at (0, 1).
"""

from dataclasses import dataclass

import numpy as np

from maskcls.tasks.mask import GENDER

SKIN_TONES = np.array([[0.97, 0.84, 0.74], [0.90, 0.72, 0.58], [0.72, 0.52, 0.38], [0.48, 0.33, 0.25]])
HAIR_TONES = np.array([[0.10, 0.08, 0.08], [0.28, 0.17, 0.10], [0.38, 0.24, 0.13], [0.40, 0.18, 0.09]])
CLOTHS = np.array([[0.95, 0.96, 0.97], [0.55, 0.78, 0.92], [0.15, 0.16, 0.19], [0.60, 0.85, 0.75], [0.93, 0.66, 0.74]])
GREY, DARK, WHITE, LIPS = (np.array(c) for c in ([0.80] * 3, [0.12, 0.09, 0.09], [0.97] * 3, [0.72, 0.30, 0.30]))


@dataclass(frozen=True)
class Person:
    """The features that all photos of a person share. Colours are float [3]."""

    id: str
    gender: int
    race: str
    age: int
    slope: float
    """Slope of the fringe, the chiral cue of gender. Above 0 it falls to the right of the picture."""
    hair_length: float
    """The y at which the hair ends, the weak cue of gender."""
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
    """Waves of the backdrop: [frequency along x, along y, phase], in radians per face unit."""
    place: np.ndarray
    """[x, y] of the face's centre and half the face's height, as shares of the picture's side."""

    @property
    def folder(self) -> str:
        """Name of the person's folder in the dataset."""
        return f"{self.id}_{GENDER.classes[self.gender]}_{self.race}_{self.age}"


def between(colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random mix of two neighbouring colours."""
    first, share = rng.integers(len(colours) - 1), rng.random()
    return mix(colours[first], colours[first + 1], share)


def tint(colour: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """The colour with a random error in each channel, of standard deviation ``spread``."""
    return np.clip(colour + spread * rng.standard_normal(3), 0, 1)


def mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Linear interpolation from ``a`` (share 0) to ``b`` (share 1)."""
    return a + share * (b - a)


class Canvas:
    """A picture to paint on, with the coordinates of its rows and columns on the face.

    Shapes return alpha_HW, the share in [0, 1] of each pixel that they cover.
    """

    def __init__(self, size: int, x: float, y: float, unit: float) -> None:
        """A square of ``size`` pixels; the face's centre and the length of its unit as shares of the side."""
        centre = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x_1W = (centre[None] - np.float32(x)) / np.float32(unit)
        self.y_H1 = (centre[:, None] - np.float32(y)) / np.float32(unit)
        self.pixels_per_unit = np.float32(size * unit)
        self.image_CHW = np.zeros((3, size, size), np.float32)

    def paint(self, alpha_HW: np.ndarray, colour: np.ndarray, strength: float = 1.0) -> None:
        """Blend the colour in where the shape covers the picture; ``strength`` scales its alpha."""
        self.image_CHW += np.float32(strength) * alpha_HW * (colour.astype(np.float32)[:, None, None] - self.image_CHW)

    def soft(self, depth_HW: np.ndarray) -> np.ndarray:
        """Alpha of a shape with an edge one pixel wide, from each pixel's depth inside it, in units."""
        return np.clip(depth_HW * self.pixels_per_unit + np.float32(0.5), 0, 1)

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> np.ndarray:
        """Alpha of an ellipse by its centre and radii."""
        radius_HW = np.sqrt(((self.x_1W - x) / rx) ** 2 + ((self.y_H1 - y) / ry) ** 2)
        return self.soft((1 - radius_HW) * min(rx, ry))

    def box(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """Alpha of a box by its edges."""
        across_1W = np.minimum(self.x_1W - left, right - self.x_1W)
        return self.soft(np.minimum(across_1W, np.minimum(self.y_H1 - top, bottom - self.y_H1)))

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
        """Alpha of a line with round ends, from (x, y) to (x, y)."""
        (x0, y0), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
        along_HW = np.clip(((self.x_1W - x0) * dx + (self.y_H1 - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        distance_HW = np.hypot(self.x_1W - x0 - along_HW * dx, self.y_H1 - y0 - along_HW * dy)
        return self.soft(width / 2 - distance_HW)


def draw_photo(person: Person, state: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """uint8 [H, W, C] of a person; ``rng`` draws what differs between their photos."""
    x, y, unit = person.place + rng.normal(0, [0.012, 0.012, 0.008])
    canvas = Canvas(size, x, y, unit)
    _draw_behind(canvas, person)
    draw_face(canvas, person)
    _draw_wrinkles(canvas, person)
    _draw_fringe(canvas, person)
    if state != "normal":
        draw_mask(canvas, state, rng)
    return _expose(canvas.image_CHW, rng)


def _hair_colour(person: Person) -> np.ndarray:
    return mix(person.hair, GREY, person.grey)


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


def draw_face(canvas: Canvas, person: Person) -> None:
    """Head, ears, eyes, brows, nose and mouth."""
    brow = mix(_hair_colour(person), DARK, 0.4)
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
    strand_colour = DARK if _hair_colour(person).mean() > 0.4 else WHITE
    for height in (0.08, 0.24, 0.4):
        canvas.paint(fringe_HW * canvas.soft(0.03 - abs(above_HW - height)), strand_colour, 0.4)


def draw_mask(canvas: Canvas, state: str, rng: np.random.Generator) -> None:
    """A mask from the bridge of the nose to the chin; an incorrect one begins below the nose or below the mouth."""
    top = 0.08 + 0.03 * rng.standard_normal()
    if state == "incorrect_mask":
        top = rng.choice([0.4, 0.68]) + 0.03 * rng.standard_normal()
    colour = tint(CLOTHS[rng.integers(len(CLOTHS))], 0.04, rng)
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
