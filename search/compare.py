"""python -m search.compare A B: two trained models on the same people, and their difference with its interval."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.terminal.options import RUNS, PriorOption, RunsOption, StorageOption


def main(
    a: Annotated[str, typer.Argument(metavar="A", help="STUDY:TRIAL, or the folder of a trained model.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The model that A is compared with.")],
    prior: PriorOption = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Compare two trained models by their stored predictions: is A better than B, and by how much?"""
    from search.findings.models import find_model
    from search.system.shell import place_options
    from search.terminal.comparison import show_comparison

    ours, theirs = (find_model(text, storage, runs) for text in (a, b))
    show_comparison(ours, theirs, prior, place_options(runs, storage))


if __name__ == "__main__":
    run_command(main)
