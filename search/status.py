"""python -m search.status: the studies, their progress, and which process runs which trial, where and since when.

It only reads, imports neither torch nor timm, and never disturbs a run.

``--json`` prints one document: a DatabaseOverview, or with --study a StudyStatus. search/findings/documents.py
describes each key at the field of that name.
"""

import json
from typing import Annotated, Any

import typer

from maskcls.system.console import run_command, say
from search.terminal.options import RUNS, RunsOption, StorageOption


def main(
    study: Annotated[str | None, typer.Option(help="The study's stored name. Default: a table of all.")] = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document, for scripts.")] = False,
) -> None:
    """Show all studies, or one: its trials, best trial, noise, running processes and failures."""
    from search.database.connect import default_url, load_study, open_to_read
    from search.findings.status import overview_of_all, status_of
    from search.study.record import read_stored
    from search.terminal.status import show_overview, show_status

    database = open_to_read(storage or default_url(runs))
    if study is None:
        overview = overview_of_all(database)
        _say_json(overview.to_json()) if json_ else show_overview(overview)
    else:
        stored_study = load_study(database, study)
        status = status_of(stored_study, read_stored(stored_study))
        _say_json(status.to_json()) if json_ else show_status(status)


def _say_json(document: dict[str, Any]) -> None:
    say(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    run_command(main)
