"""python -m search.export: the recipe with the best score to expect, as a config that maskcls.train trains again."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError
from maskcls.system.options import ENSEMBLE_SIZE
from maskcls.system.outputs import check_output, is_own_output, messages_beside, write_output_text
from search.terminal.options import RUNS, RunsOption, StorageOption, StudyOption


def main(
    study: StudyOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="TOML file to write.")],
    trial: Annotated[
        int | None, typer.Option(min=0, help="Number of a trial. Default: one of the best recipe.")
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Write the configs of all models that predict best together.")
    ] = False,
    size: Annotated[
        int | None, typer.Option(min=1, help=f"Most models in the ensemble. Default: {ENSEMBLE_SIZE}.")
    ] = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Write the recipe with the best score to expect on others as a training config that says where it is from.

    Its training ends in the very score of the trial that it names, by the same seed, split and judges. With --ensemble
    the file has a config for each member of the ensemble of trials that predict best together, and maskcls.train trains
    them all.
    """
    if ensemble and trial is not None:
        raise UserError("--trial exports a single model, and --ensemble several; give one of them.")
    if size is not None and not ensemble:
        raise UserError("--size is of an ensemble; add --ensemble.")
    from search.database.connect import default_url, load_study, open_to_read
    from search.findings.recipe import find_recipe

    check_output(out)
    database = open_to_read(storage or default_url(runs))
    searched = load_study(database, study)
    if ensemble:
        from search.terminal.exporting import export_ensemble

        export_ensemble(searched, size or ENSEMBLE_SIZE, out, database, runs)
        return
    recipe = find_recipe(searched, trial, runs)
    write_output_text(out, recipe.to_toml())
    with messages_beside(out):
        say(f"{out}: {recipe.describe()}")
        if out.is_file() and not is_own_output(out):
            say(f"Next: {recipe.training_command(out, runs)}")


if __name__ == "__main__":
    run_command(main)
