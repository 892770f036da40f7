"""python -m search.compose: models for mask, gender and age, chosen together from stored trials; no training."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from maskcls.system.errors import UserError
from maskcls.system.outputs import check_is_regular, check_output
from search.terminal.options import RUNS, RunsOption, StorageOption


def main(
    mask: Annotated[str, typer.Option(help="Stored study whose trials may predict the mask state.")],
    gender: Annotated[str, typer.Option(help="Stored study for the gender.")],
    age: Annotated[str, typer.Option(help="Stored study for the age band. One of all 18 classes may serve any part.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="TOML file to write, for maskcls.predict; its models go to NAME.parts.")
    ],
    against: Annotated[
        str | None,
        typer.Option(help="STUDY:TRIAL, the single model to compare with. Default: the best one for the same photos."),
    ] = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Find the trio of trials with the best macro F1 over the 18 classes, and write it as one model.

    Every trio of trials whose weights are kept is judged by their stored predictions, and the best is compared with
    the best single model on the same people.
    """
    if out.suffix != ".toml":
        raise UserError(f"--out takes a TOML file, such as best.toml, not {out}.")
    check_output(out)
    check_is_regular(out)
    from search.database.connect import default_url, open_to_read
    from search.terminal.composition import compose

    database = open_to_read(storage or default_url(runs))
    compose({"mask": mask, "gender": gender, "age": age}, out, against, database, runs)


if __name__ == "__main__":
    run_command(main)
