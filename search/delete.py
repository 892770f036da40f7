"""python -m search.delete: remove a study with its folder, pictures and confirmation, after asking; nothing else."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.terminal.options import RUNS, RunsOption, StorageOption, StudyOption


def main(
    study: StudyOption,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Delete a study from the database, with its folder, its pictures and its confirmations. This cannot be undone."""
    from search.database.connect import default_url, load_study, open_storage
    from search.terminal.deletion import delete

    database = open_storage(storage or default_url(runs), create=False)
    return 0 if delete(load_study(database, study), runs, asks=not yes) else 1


if __name__ == "__main__":
    run_command(main)
