"""python -m search.compare A B: two trained models on the same people, their difference with its interval."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.system.storage_url import StorageOption


def main(
    a: Annotated[str, typer.Argument(metavar="A", help="STUDY:TRIAL, or the folder of a trained model.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The one that A is compared with.")],
    prior: Annotated[
        str | None,
        typer.Option(
            help="Scores as if people came in these shares: male=0.6,old=0.25 (male, female, young, middle, old)."
        ),
    ] = None,
    storage: StorageOption = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Compare two trained models by their stored predictions: is A better than B, and by how much?"""
    from search.answer.models import find_model
    from search.terminal.comparison import show_comparison

    ours, theirs = (find_model(text, storage, runs) for text in (a, b))
    show_comparison(ours, theirs, prior)


if __name__ == "__main__":
    run_command(main)
