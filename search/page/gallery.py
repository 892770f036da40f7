"""The report's gallery: the mistakes that the best trial is most sure of, with their photos where they can be had."""

import io
from pathlib import Path

import numpy as np

from maskcls.labels import CLASS_NAMES
from maskcls.system.errors import one_line
from search.answer.format import percent
from search.page.blocks import Block, Gallery, Picture, Section, Text
from search.page.data import Material, TrialPredictions

MOST = 12
PIXELS = 160
"""Longest side of a thumbnail."""


def gallery_section(material: Material) -> Section:
    """The mistakes that the best trial is most sure of, at most one a person."""
    title = "The most confident mistakes"
    side = material.after
    if side is None:
        return Section(title, (Text(material.missing()),))
    mistakes = confident_mistakes(side)
    if not mistakes:
        return Section(title, (Text(f"{side.name.capitalize()} makes no mistake on the validation photos."),))
    folder, why_not = _photos(material)
    text = f"What {side.name} is most sure of and wrong about, one photo a person at most. Some may be wrong labels."
    pictures = tuple(_picture(side, row, folder, material.options.photos) for row in mistakes)
    blocks: tuple[Block, ...] = (Text(f"{text} {why_not}".strip()), Gallery(pictures))
    return Section(title, blocks)


def confident_mistakes(side: TrialPredictions, most: int = MOST) -> list[int]:
    """Rows of the predictions, the highest probability of a wrong class first; one of each person."""
    wrong = np.flatnonzero(side.predicted_N != side.predictions.label_N)
    sure = side.predictions.log_prob_NK.max(1)[wrong]
    found: dict[str, int] = {}
    for row in wrong[np.argsort(-sure, kind="stable")].tolist():
        found.setdefault(str(side.predictions.person_N[row]), row)
    return list(found.values())[:most]


def _photos(material: Material) -> tuple[Path | None, str]:
    """The folder of the photos; None and the reason where they are not shown."""
    if not material.options.photos:
        return None, "The photos and their names, which tell of the people, are left out (--no-photos)."
    folder = photo_folder(material)
    if not folder.is_dir():
        return None, f"The photos are not shown: there is no folder {folder} here. --data names another."
    return folder, ""


def photo_folder(material: Material) -> Path:
    """Where the photos should lie, by --data or as the study has it; the drawn ones are not drawn for a report."""
    from maskcls.data.dataset import SYNTHETIC, synthetic_folder

    if material.options.data is not None:
        return material.options.data
    return synthetic_folder(material.options.runs) if material.stored.data == SYNTHETIC else Path(material.stored.data)


def _picture(side: TrialPredictions, row: int, folder: Path | None, is_named: bool) -> Picture:
    names = CLASS_NAMES[side.task]
    found = side.predictions
    true, called = names[found.label_N[row]], names[side.predicted_N[row]]
    probability = float(np.exp(found.log_prob_NK[row].max()))
    path = str(found.path_N[row])
    jpeg, problem = (None, "") if folder is None else thumbnail(folder / path)
    lines = (f"true: {true}", f"{percent(probability)} sure", path if is_named else "", problem)
    return Picture(jpeg, f"called {called}", tuple(line for line in lines if line))


def thumbnail(path: Path) -> tuple[bytes | None, str]:
    """A small JPEG of the photo, of the pixels that models see and nothing else; None and the reason without one."""
    from maskcls.images.preview import picture

    try:
        small = picture(path)
    except Exception as error:  # whatever it is, one picture must not cost the report
        return None, f"not shown: {one_line(error, 80)}"
    small.thumbnail((PIXELS, PIXELS))
    written = io.BytesIO()
    small.save(written, format="JPEG", quality=82)
    return written.getvalue(), ""
