"""python -m maskcls.evaluate: a trained model's scores on a labelled folder."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskcls.cli import run_command, say
from maskcls.errors import UserError


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
    from maskcls.dataset import data_folder, read_table

    if not (model / "config.toml").is_file():
        raise UserError(f"{model} holds no trained model: it has no config.toml.")
    config, origin = load_config(model / "config.toml")
    table = read_table(data_folder(data, runs), config, label_fixes)
    is_own = table.hash == origin.get("split")
    if people == People.VALID and not is_own:
        raise UserError(f"{data} is not what {model} was trained on (its split differs), so nobody there was held out.")
    side = "valid" if people == People.VALID or (people == People.AUTO and is_own) else "all"
    from maskcls.evaluation import evaluate

    evaluate(model, table, side, device, runs / "cache", skip_unreadable, flip, out, say)


if __name__ == "__main__":
    run_command(main)
