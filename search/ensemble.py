"""python -m search.ensemble: trials of one or more studies that predict together, better than the best one alone."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from maskcls.system.errors import UserError
from maskcls.system.options import ENSEMBLE_SIZE
from maskcls.system.outputs import check_is_regular, check_output
from search.terminal.options import RUNS, RunsOption, StorageOption, StudiesOption


def main(
    study: StudiesOption,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="TOML file to write, for maskcls.predict; its models go to NAME.members."),
    ],
    size: Annotated[
        int, typer.Option(min=1, help="Most models in the ensemble; each has to predict every photo.")
    ] = ENSEMBLE_SIZE,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Find trials that predict best together, by the mean of their probabilities: write them as one model.

    They are chosen among the complete trials whose weights are kept, by their stored predictions, whatever their
    backbone and photo size; the ensemble is compared with the best single model on the same photos.
    """
    if out.suffix != ".toml":
        raise UserError(f"--out takes a TOML file, such as team.toml, not {out}.")
    check_output(out)
    check_is_regular(out)
    from search.database.connect import default_url, open_to_read
    from search.terminal.ensembling import write_ensemble

    write_ensemble(study, size, out, open_to_read(storage or default_url(runs)), runs)


if __name__ == "__main__":
    run_command(main)
