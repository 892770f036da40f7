"""python -m search.copy: a study with its small files into another database, where it continues."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.terminal.options import RUNS, RunsOption, StorageOption, StudyOption


def main(
    study: StudyOption,
    to: Annotated[str, typer.Option(help="Optuna storage URL of the database to copy to; an SQLite file is created.")],
    name: Annotated[str | None, typer.Option(help="Its name there. Default: the same.")] = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Copy a study with its confirmations to another database, from SQLite to PostgreSQL for example.

    It continues there, under its trials' numbers and with the files in the --runs folder; what is left behind can only
    be read and deleted. Predictions and pictures are copied too: into a server's database, or from there into --runs.
    """
    from search.database.connect import default_url, load_study, open_storage
    from search.study.names import checked_name
    from search.terminal.copying import copy_study

    new_name = checked_name(name or study)
    source = open_storage(storage or default_url(runs), create=False)
    found = load_study(source, study)
    copy_study(found, open_storage(to, create=True), new_name, runs)


if __name__ == "__main__":
    run_command(main)
