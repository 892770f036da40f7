"""python -m maskcls.evaluate: a trained model's scores on a labelled folder."""

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError, count_of, some
from maskcls.system.files import check_folder
from maskcls.system.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    FlipOption,
    GroupOption,
    LabelFixesOption,
    LabelOption,
    ModelOption,
    PathOption,
    RunsOfModelOption,
    SkipUnreadableOption,
    TableOption,
    cache_folder,
)
from maskcls.system.outputs import check_output_folder, write_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskcls.config import TrainConfig
    from maskcls.data.dataset import Table
    from maskcls.labels import LabelSpace
    from maskcls.model.trained import TrainedModel
    from maskcls.reading.source import SourceOptions
    from maskcls.scoring.predictions import Predictions
    from maskcls.tasks.task import Task


class People(StrEnum):
    """The people (groups) to score."""

    AUTO = "auto"
    ALL = "all"
    VALID = "valid"
    TEST = "test"


def main(
    model: ModelOption,
    data: DataOption,
    people: Annotated[
        People,
        typer.Option(
            help="all, or valid: only people (groups) held out of training, in the dataset that the model was trained"
            " on. auto: valid in that dataset, else all. test: the photos that the data holds back for a test, which"
            " none of these has; a test is for once."
        ),
    ] = People.AUTO,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for predictions.npz and confusion.png.")
    ] = None,
    table: TableOption = "",
    path: PathOption = "",
    label: LabelOption = None,
    group: GroupOption = "",
    flip: FlipOption = False,
    device: DeviceOption = "auto",
    label_fixes: LabelFixesOption = "auto",
    skip_unreadable: SkipUnreadableOption = False,
    cache: CacheOption = None,
    runs: RunsOfModelOption = Path("runs"),
) -> None:
    """Score a trained model on labelled photos: its metric, accuracy, loss, per class and per part of the label."""
    if out is not None:
        check_output_folder(out)
    from maskcls.data.dataset import open_data
    from maskcls.model.composite import predicted_space, read_models
    from maskcls.reading.source import SourceOptions

    check_folder(runs, "--runs")
    cache_dir = cache_folder(cache, runs)
    models = read_models(model)
    unit = models[0].task.unit
    splits = {trained.origin.get("split") for trained in models}
    split = splits.pop() if len(splits) == 1 else None
    typed = SourceOptions(table, path, tuple(label or ()), group)
    folder, options = open_data(data, runs, typed, models[0].task.source, cache_dir)
    task = _task_of(models[0], folder, options)
    photos, is_own = _table(folder, task, models[0].config, split, label_fixes, people)
    if people == People.VALID and not is_own:
        raise UserError(
            f"{data} is not the dataset that {model} was trained on (its split differs), so it has no held-out"
            f" {unit.many}. Use --people all."
        )
    for note in photos.notes:
        say(note)
    if people == People.TEST:
        whose = "of the dataset that the model was trained on" if is_own else "of a dataset that it was not trained on"
        say(f"Scoring the photos held back for a test {whose}. A test is for once: choose nothing by this score.")
    elif is_own:
        scored = f"ALL {unit.many}" if people == People.ALL else f"the held-out {unit.many}"
        say(f"The model was trained on this dataset; scoring {scored}.")
    if not is_own and any(_shares_people(trained.folder, photos) for trained in models):
        say(
            f"CAUTION: this folder shows {unit.many} of the model's validation split, so it may show training"
            f" {unit.many} too."
        )
    from maskcls.data.cache_plan import plan_caches
    from maskcls.training.apply import predict_side
    from maskcls.training.numerics import pick_device

    plan = plan_caches(photos, [trained.config for trained in models], cache_dir)
    say(f"Cache: {plan.describe()}")
    plan.check_room()
    predictions = predict_side(models, photos, "valid", pick_device(device), cache_dir, skip_unreadable, flip)
    _print_scores(predictions, models[0].task, predicted_space(models))
    if out is not None:
        _write(out, predictions, models)


def _task_of(model: "TrainedModel", folder: Path, options: "SourceOptions") -> "Task":
    """The model's task, whose photos and labels are found as it is typed, else as those that it was trained on."""
    from maskcls.reading.source import find_source

    source = model.task.source
    return replace(model.task, source=find_source(folder, options, source)) if options.typed else model.task


def _table(
    folder: Path, task: "Task", config: "TrainConfig", split: str | None, label_fixes: str, people: People
) -> "tuple[Table, bool]":
    """(the folder's photos, with split "valid" for those to score; whether the model was trained on this dataset)."""
    from maskcls.data.dataset import Table, read_apart, read_table

    try:
        table = read_table(folder, config, label_fixes, task)
    except UserError:  # too few people to split them, which scoring does not need
        table = None
    is_own = table is not None and table.hash == split
    if table is not None and is_own and people in (People.AUTO, People.VALID):
        return table, True
    notes: list[str] = []
    photos, test = read_apart(folder, task, label_fixes, notes.append)
    if people == People.TEST:
        if test is None:
            raise UserError(f"{folder} holds no photos back for a test: no side of a split there is called test.")
        photos = test
    elif test is not None:
        notes.append(
            f"{count_of(len(test), 'photo')} held back for a test left out; --people test scores them, for once."
        )
    return Table(folder, photos.assign(split="valid"), "", task, tuple(notes)), is_own


def _shares_people(model: Path, table: "Table") -> bool:
    """Whether the folder shows people (groups) of the model's validation split."""
    from maskcls.scoring.predictions import Predictions

    predictions = model / "valid.npz"
    return predictions.exists() and bool(set(Predictions.load(predictions).person_N) & set(table.photos["person"]))


def _print_scores(predictions: "Predictions", task: "Task", space: "LabelSpace") -> None:
    import numpy as np

    from maskcls.scoring.condensed import EACH_END, NAME_COLUMNS, extremes, extremes_note
    from maskcls.scoring.metrics import score
    from maskcls.system.printable import shortened

    scores = score(predictions.log_prob_NK, predictions.label_N, space, task.metric)
    count_K = np.bincount(predictions.label_N, minlength=space.num_classes)
    present = np.flatnonzero(count_K)
    note = extremes_note(len(present), "best", "worst")
    is_few = space.num_classes <= 2 * EACH_END
    classes = range(space.num_classes) if is_few else present[extremes(np.asarray(scores.f1_per_class)[present])]
    if note:
        say(f"{note} are shown, by F1:")
    for index in classes:
        name = shortened(space.names[index], NAME_COLUMNS)
        say(f"  {name:32s} F1 {scores.f1_per_class[index]:.4f}  {count_K[index]} photos")
    for part, f1 in scores.f1_per_part.items():
        say(f"  {part + ' alone':32s} F1 {f1:.4f}")
    absent = [shortened(name, NAME_COLUMNS) for name, count in zip(space.names, count_K, strict=True) if count == 0]
    if absent:
        num_present = len(count_K) - len(absent)
        mean_f1 = float(np.mean(np.asarray(scores.f1_per_class)[count_K > 0]))
        mean = "mean" if task.metric == "macro_f1" else "mean F1"
        say(
            f"NO PHOTO OF: {some(absent)}. {task.uncounted};"
            f" the {mean} over the {num_present} classes here is {mean_f1:.4f}."
        )
    units = len(np.unique(predictions.person_N))
    of = f" of {units} {task.unit.noun(units)}" if task.has_groups else ""
    accuracy = "" if task.metric == "accuracy" else f"  accuracy {scores.accuracy:.4f}"
    say(
        f"{task.metric_words} {scores.value!r}{accuracy}  loss {scores.loss:.4f}"
        f"  ({len(predictions.label_N)} photos{of})"
    )


def _write(out: Path, predictions: "Predictions", models: "Sequence[TrainedModel]") -> None:
    from maskcls.model.composite import predicted_part, predicted_space
    from maskcls.scoring.metrics import confusion_matrix
    from maskcls.scoring.plots import draw_confusion
    from maskcls.scoring.predictions import PREDICTED_TASK
    from maskcls.tasks.declared import task_to_json

    space = predicted_space(models)
    out.mkdir(parents=True, exist_ok=True)
    if (task := task_to_json(models[0].task)) is not None:  # else predictions are read as the mask task's
        text = json.dumps({"task": task, "part": predicted_part(models)}, ensure_ascii=False)
        write_output(out / PREDICTED_TASK, lambda part: part.write_text(text, encoding="utf-8"))
    else:
        (out / PREDICTED_TASK).unlink(missing_ok=True)
    write_output(out / "predictions.npz", predictions.save)
    matrix_KK = confusion_matrix(predictions.label_N, predictions.log_prob_NK.argmax(1), space.num_classes)
    write_output(out / "confusion.png", lambda part: draw_confusion(matrix_KK, space, str(out), part))
    say(f"{out}: predictions.npz, confusion.png")


if __name__ == "__main__":
    run_command(main)
