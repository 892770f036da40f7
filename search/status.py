"""python -m search.status: which studies there are, how far they are, and who runs what where since when.

It only reads, imports neither torch nor timm, and never disturbs a run.

``--json`` prints one document: a DatabaseOverview, or with --study a StudyStatus. What a key means stands with the
field of its name in search/answer/status.py.
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
    json_: Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")] = False,
) -> None:
    """Show the studies, or one study: trials, best, noise, who runs what where, what failed."""
    from search.answer.status import overview_of_all, status_of
    from search.database.connect import default_url, load_study, open_to_read
    from search.study.record import read_stored
    from search.terminal.status import show_overview, show_status

    opened = open_to_read(storage or default_url(runs))
    if study is None:
        overview = overview_of_all(opened)
        _say_json(overview.to_json()) if json_ else show_overview(overview)
    else:
        found = load_study(opened, study)
        status = status_of(found, read_stored(found))
        _say_json(status.to_json()) if json_ else show_status(status)


def _say_json(document: dict[str, Any]) -> None:
    say(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    run_command(main)
