"""Six data sets that are not the mask task's, drawn in tiny photos whose colour shows the class."""

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.data.photos import save_table

SIDE = 24


@dataclass(frozen=True)
class OwnPhotos:
    """A folder of photos, and what is right of it."""

    folder: Path
    options: tuple[str, ...]
    """How a command is told to read it."""
    unit: tuple[str, str]
    factors: dict[str, tuple[str, ...]]
    """Factor -> its classes, in order."""
    class_of: dict[str, tuple[str, ...]]
    """Path of a photo that may be trained on or judged -> its class of every factor."""
    group_of: dict[str, str]
    """Path -> its group; without groups the path."""


def draw_photo(path: Path, hue: float, brightness: float, rng: np.random.Generator) -> None:
    """A noisy photo of about one colour, so that some are taken for others; hue and brightness are from 0 to 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    color = 255 * np.array(colorsys.hsv_to_rgb((hue + rng.normal(0, 0.1)) % 1, 0.8, brightness))
    image_HWC = np.clip(color + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(image_HWC).save(path)


def draw_folders(folder: Path, photos: Iterable[str], classes: Sequence[str]) -> Path:
    """Photos ``.../<class>/<file>`` in the colour of their class; returns the folder."""
    rng = np.random.default_rng(0)
    for path in photos:
        draw_photo(folder / path, classes.index(Path(path).parts[-2]) / len(classes), 0.9, rng)
    return folder


def folder_of_classes(folder: Path) -> OwnPhotos:
    """Three classes, one with a name that HTML and Markdown would take for their own; 40 photos each."""
    classes = ("<b>sea|horse<b>", "cat & dog", "Ölkäfer")
    class_of = {f"{name}/{number:02}.png": (name,) for name in classes for number in range(40)}
    draw_folders(folder, class_of, classes)
    return OwnPhotos(folder, (), ("photo", "photos"), {"class": classes}, class_of, {path: path for path in class_of})


def table_of_patients(folder: Path, sizes: Sequence[int] = (4,) * 60) -> OwnPhotos:
    """Two diagnoses of patients with so many photos each; a patient may have both, but every second one has one."""
    rng, classes = np.random.default_rng(0), ("benign", "malignant")
    rows = [("image_id", "diagnosis", "patient_id")]
    class_of, group_of = {}, {}
    for patient, size in enumerate(sizes):
        for number in range(size):
            diagnosis = classes[(patient // 2 + number * (patient % 2)) % 2]
            path = f"scans/p{patient:03}-{number}.png"
            draw_photo(folder / path, classes.index(diagnosis) / 2, 0.9, rng)
            rows.append((Path(path).stem, diagnosis, f"p{patient:03}"))
            class_of[path], group_of[path] = (diagnosis,), f"p{patient:03}"
    save_table(folder / "meta.csv", rows)
    options = ("--table", "meta.csv", "--label", "diagnosis", "--group", "patient_id")
    return OwnPhotos(folder, options, ("patient", "patients"), {"diagnosis": classes}, class_of, group_of)


def uneven_groups(folder: Path) -> OwnPhotos:
    """As table_of_patients, with 2 to 18 photos a patient."""
    return table_of_patients(folder, sizes=tuple(2 + number % 5 * 4 for number in range(60)))


def three_factors(folder: Path) -> OwnPhotos:
    """Species, sex and coat of 48 animals, four photos each; the first two are the same in all photos of an animal."""
    factors = {"species": ("deer", "fox"), "sex": ("f", "m"), "coat": ("summer", "winter")}
    rng = np.random.default_rng(0)
    rows = [("file", "species", "sex", "coat", "animal")]
    class_of, group_of = {}, {}
    for animal in range(48):
        species, sex = animal % 2, animal // 2 % 2
        for number in range(4):
            coat, path = number % 2, f"{animal}/{number}.png"
            draw_photo(folder / path, species / 3 + sex / 2, (0.5, 0.95)[coat], rng)
            class_of[path] = tuple(
                names[index] for names, index in zip(factors.values(), (species, sex, coat), strict=True)
            )
            group_of[path] = str(animal)
            rows.append((path, *class_of[path], str(animal)))
    save_table(folder / "animals.csv", rows)
    labels = [word for name in factors for word in ("--label", name)]
    return OwnPhotos(folder, (*labels, "--group", "animal"), ("animal", "animals"), factors, class_of, group_of)


def many_classes(folder: Path) -> OwnPhotos:
    """200 classes of 5 photos, named by numbers: "2" comes before "10"."""
    classes = tuple(map(str, range(1, 201)))
    class_of = {f"{name}/{number}.png": (name,) for name in classes for number in range(5)}
    draw_folders(folder, class_of, classes)
    return OwnPhotos(folder, (), ("photo", "photos"), {"class": classes}, class_of, {path: path for path in class_of})


def given_split(folder: Path) -> OwnPhotos:
    """Three classes in train/, val/ and test/."""
    classes, counts = ("a", "b", "c"), {"train": 20, "val": 12, "test": 4}
    paths = [f"{side}/{name}/{n}.png" for side, count in counts.items() for name in classes for n in range(count)]
    draw_folders(folder, paths, classes)
    class_of = {path: (path.split("/")[1],) for path in paths if not path.startswith("test/")}
    return OwnPhotos(folder, (), ("photo", "photos"), {"class": classes}, class_of, {path: path for path in class_of})


SIX = {
    draw.__name__: draw
    for draw in (folder_of_classes, table_of_patients, three_factors, many_classes, uneven_groups, given_split)
}
"""Name -> a function that draws the data set into a folder."""
