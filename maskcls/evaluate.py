"""python -m maskcls.evaluate: a trained model's scores on a labelled folder."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.cli import run_command, say
from maskcls.errors import UserError

if TYPE_CHECKING:
    from maskcls.config import TrainConfig
    from maskcls.dataset import Table
    from maskcls.predictions import Predictions


class People(StrEnum):
    """Whom to score."""

    AUTO = "auto"
    ALL = "all"
    VALID = "valid"


def main(
    model: Annotated[Path, typer.Option(help="Folder of a trained model: the -o of maskcls.train, or a trial's.")],
    data: Annotated[str, typer.Option(help="Folder with images/, or: synthetic.", envvar="MASKCLS_DATA")],
    people: Annotated[
        People,
        typer.Option(
            help="all, or valid: those the model was not trained on, when the folder is the one it was trained on."
            " auto: valid if it is that folder, else all."
        ),
    ] = People.AUTO,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for predictions.npz and confusion.png.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average each photo and its mirror image.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    label_fixes: Annotated[str, typer.Option(help="CSV of label fixes, auto (the shipped list), or none.")] = "auto",
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out broken photos.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder for the cache of decoded photos.")] = Path("runs"),
) -> None:
    """Score a trained model on labelled photos: macro F1, accuracy, loss, per class and per part of the label."""
    from maskcls.config import load_config
    from maskcls.dataset import data_folder

    if not (model / "config.toml").is_file():
        raise UserError(f"{model} holds no trained model: it has no config.toml.")
    config, origin = load_config(model / "config.toml")
    table, is_own = _table(data_folder(data, runs), config, origin.get("split"), label_fixes, people)
    if people == People.VALID and not is_own:
        raise UserError(f"{data} is not what {model} was trained on (its split differs), so nobody there was held out.")
    held_out_only = is_own and people != People.ALL
    if is_own:
        say("These are the photos it was trained on; " + ("scoring the people held out." if held_out_only else "ALL."))
    elif _shares_people(model, table):
        say("CAUTION: people of its own validation split are here, so those it was trained on may be too.")
    predictions = _predict(model, table, held_out_only, device, runs / "cache", skip_unreadable, flip)
    _show(predictions, config.task)
    if out is not None:
        _write(out, predictions, config.task)


def _table(
    folder: Path, config: "TrainConfig", split: str | None, label_fixes: str, people: People
) -> "tuple[Table, bool]":
    """The folder's photos, and whether they are, split by the config, those that the model was trained on."""
    from maskcls.dataset import Table, read_table
    from maskcls.photos import list_photos

    try:
        table = read_table(folder, config, label_fixes)
    except UserError:  # too few people for a split; they can be scored all the same
        table = None
    is_own = table is not None and table.hash == split
    if table is not None and is_own and people != People.ALL:
        return table, True
    return Table(folder, list_photos(folder, label_fixes).assign(split="valid"), ""), is_own


def _shares_people(model: Path, table: "Table") -> bool:
    """Whether the folder shows people that the model's run knew, though it is not the very same dataset."""
    from maskcls.predictions import Predictions

    stored = model / "valid.npz"
    return stored.exists() and bool(set(Predictions.load(stored).person_N) & set(table.photos["person"]))


def _predict(
    model: Path, table: "Table", held_out_only: bool, device: str, cache_dir: Path, skip_unreadable: bool, flip: bool
) -> "Predictions":
    import torch

    from maskcls.batches import Batches
    from maskcls.cores import num_cores
    from maskcls.dataset import for_task, load_photos, side_of
    from maskcls.inference import log_probs
    from maskcls.numerics import pick_device, resolve
    from maskcls.predictions import Predictions
    from maskcls.run_folder import load_trained

    place = pick_device(device)
    torch.set_num_threads(num_cores())
    network, config = load_trained(model, place)
    image_NCHW, photos = load_photos(table, config, cache_dir, skip_unreadable)
    if held_out_only:
        photos = photos[photos["split"] == "valid"]
    side = side_of(photos, photos["label"].to_numpy())
    label_N = for_task(side, config.task)
    batches = (image for image, _ in Batches(image_NCHW, side.row_N, label_N, place).in_order(4 * config.micro_batch))
    log_prob_NK = log_probs(network, batches, resolve(config, place), flip)
    return Predictions(side.path_N, side.person_N, label_N, log_prob_NK)


def _show(predictions: "Predictions", task: str) -> None:
    import numpy as np

    from maskcls.labels import CLASS_NAMES
    from maskcls.metrics import score

    scores = score(predictions.log_prob_NK, predictions.label_N, task)
    count_K = np.bincount(predictions.label_N, minlength=len(CLASS_NAMES[task]))
    for name, f1, count in zip(CLASS_NAMES[task], scores.f1_per_class, count_K, strict=True):
        say(f"  {name:32s} F1 {f1:.4f}  {count} photos")
    for part, f1 in scores.f1_per_part.items():
        say(f"  {part + ' alone':32s} F1 {f1:.4f}")
    people = len(np.unique(predictions.person_N))
    say(
        f"macro F1 {scores.macro_f1!r}  accuracy {scores.accuracy:.4f}  loss {scores.loss:.4f}"
        f"  ({len(predictions.label_N)} photos of {people} people)"
    )


def _write(out: Path, predictions: "Predictions", task: str) -> None:
    from maskcls.labels import CLASS_NAMES
    from maskcls.metrics import confusion
    from maskcls.plots import draw_confusion

    out.mkdir(parents=True, exist_ok=True)
    predictions.save(out / "predictions.npz")
    matrix_KK = confusion(predictions.label_N, predictions.log_prob_NK.argmax(1), len(CLASS_NAMES[task]))
    draw_confusion(matrix_KK, task, str(out), out / "confusion.png")
    say(f"{out}: predictions.npz, confusion.png")


if __name__ == "__main__":
    run_command(main)
