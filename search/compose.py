"""python -m search.compose: a model for every factor of the label, chosen together from stored trials; no training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from maskcls.system.errors import UserError
from maskcls.system.outputs import check_is_regular, check_output
from search.terminal.options import RUNS, RunsOption, StorageOption


def main(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="TOML file to write, for maskcls.predict; its models go to NAME.parts.")
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="FACTOR=STUDY: stored study whose trials may predict this factor of the label. One of the whole label"
            " may serve any factor. Repeatable."
        ),
    ] = None,
    mask: Annotated[str | None, typer.Option(help="Short for --part mask=STUDY, in the mask task.")] = None,
    gender: Annotated[str | None, typer.Option(help="Short for --part gender=STUDY.")] = None,
    age: Annotated[str | None, typer.Option(help="Short for --part age=STUDY.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="STUDY:TRIAL, the single model to compare with. Default: the best one for the same photos."),
    ] = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Find the trials, one for each factor, that together have the best score of the whole label: write them as one.

    Every such composition of trials whose weights are kept is judged by their stored predictions, and the best is
    compared with the best single model on the same photos.
    """
    named = _named_studies(part or (), {"mask": mask, "gender": gender, "age": age})
    if out.suffix != ".toml":
        raise UserError(f"--out takes a TOML file, such as best.toml, not {out}.")
    check_output(out)
    check_is_regular(out)
    from search.answer.combinations import NamedStudy
    from search.database.connect import default_url, open_to_read
    from search.terminal.composition import compose

    database = open_to_read(storage or default_url(runs))
    compose([NamedStudy(*each) for each in named], out, against, database, runs)


def _named_studies(typed: Sequence[str], short: Mapping[str, str | None]) -> list[tuple[str, str, str]]:
    """(factor, study, option) of every --part and of every short option that was given. Raises UserError for none."""
    named = []
    for text in typed:
        part, equals, study = (word.strip() for word in text.partition("="))
        if not (part and equals and study):
            raise UserError(f"--part takes FACTOR=STUDY, for example --part colour=colours, not {text!r}.")
        named.append((part, study, f"--part {part}"))
    named += [(part, study, f"--{part}") for part, study in short.items() if study is not None]
    if not named:
        raise UserError("Name a stored study for every factor of the label: --part FACTOR=STUDY.")
    return named


if __name__ == "__main__":
    run_command(main)
