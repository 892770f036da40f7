"""The report's gallery: the best trial's most confident mistakes, with their photos where they are available."""

import io
from pathlib import Path

import numpy as np

from maskcls.scoring.condensed import NAME_COLUMNS
from maskcls.system.errors import UserError, one_line
from maskcls.system.printable import shortened
from search.answer.format import percent
from search.page.blocks import Gallery, Picture, Section, Text
from search.page.data import Material, TrialPredictions

MAX_PICTURES = 12
PIXELS = 160
"""Longest side of a thumbnail."""


def gallery_section(material: Material) -> Section:
    """The best trial's most confident mistakes, at most one per group."""
    title = "Most confident mistakes"
    model = material.after
    if model is None:
        return Section(title, (Text(material.missing()),))
    rows = confident_mistakes(model)
    if not rows:
        return Section(title, (Text(f"{model.name.capitalize()} makes no mistake on the validation photos."),))
    folder, why_not = _photos(material)
    task = material.stored.task
    each = f", one per {task.unit.one}" if task.has_groups else ""
    text = f"The wrong predictions that {model.name} is most sure of{each}. Some may be wrong labels."
    pictures = tuple(_picture(model, row, folder, material) for row in rows)
    return Section(title, (Text(f"{text} {why_not}".strip()), Gallery(pictures)))


def confident_mistakes(model: TrialPredictions) -> list[int]:
    """Rows of the wrong predictions, the highest probability first, one per group."""
    wrong = np.flatnonzero(model.predicted_N != model.predictions.label_N)
    log_prob = model.predictions.log_prob_NK.max(1)[wrong]
    row_by_person: dict[str, int] = {}
    for row in wrong[np.argsort(-log_prob, kind="stable")].tolist():
        row_by_person.setdefault(str(model.predictions.person_N[row]), row)
    return list(row_by_person.values())[:MAX_PICTURES]


def _photos(material: Material) -> tuple[Path | None, str]:
    """The folder of the photos; None and the reason where they are not shown."""
    if not material.options.photos:
        task = material.stored.task
        why = f", which identify {task.unit.many}," if task.has_groups else ""
        return None, f"The photos and their file names{why} are left out (--no-photos)."
    folder = photo_folder(material)
    if not folder.is_dir():
        return None, f"The photos are not shown: there is no folder {folder} here; --data takes another."
    return folder, ""


def photo_folder(material: Material) -> Path:
    """The folder where the photos should be: --data, else the study's. Synthetic photos are not drawn for a report."""
    from maskcls.data import dataset

    if material.options.data is not None:
        return material.options.data
    stored = material.stored
    try:
        return dataset.photo_folder(stored.data, material.options.runs, stored.task, material.options.cache)
    except UserError:  # a dataset that is gone, or whose package is missing here
        return Path(stored.data)


def _picture(model: TrialPredictions, row: int, folder: Path | None, material: Material) -> Picture:
    names, predictions = model.space.names, model.predictions
    true, predicted = (
        shortened(names[label], NAME_COLUMNS) for label in (predictions.label_N[row], model.predicted_N[row])
    )
    probability = float(np.exp(predictions.log_prob_NK[row].max()))
    path = str(predictions.path_N[row])
    jpeg, problem = (None, "") if folder is None else thumbnail(folder / path, material.config.bit_depth)
    lines = (f"true: {true}", f"{percent(probability)} sure", path if material.options.photos else "", problem)
    return Picture(jpeg, f"predicted: {predicted}", tuple(line for line in lines if line))


def thumbnail(path: Path, bit_depth: int = 0) -> tuple[bytes | None, str]:
    """A small JPEG with the pixels that models see and no metadata; or None and the reason.

    ``bit_depth`` as in TrainConfig.
    """
    from maskcls.images.preview import picture

    try:
        image = picture(path, bit_depth)
    except Exception as error:  # no photo, however broken, may cost the report
        return None, f"not shown: {one_line(error, 80)}"
    image.thumbnail((PIXELS, PIXELS))
    output = io.BytesIO()
    image.save(output, format="JPEG", quality=82)
    return output.getvalue(), ""
