"""python -m search.dashboard: optuna-dashboard on the study database, with the trials' pictures."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.terminal.options import RUNS, RunsOption, StorageOption
from search.web.tokens import MIN_TOKEN, TOKEN_VARIABLE, choose_token

LOOPBACK = "127.0.0.1"
"""This machine only, but all of its users reach it. Whoever is let in can change the studies."""

PATIENCE_SECONDS = 30
"""How long a page waits for a database that is away."""


def main(
    storage: StorageOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN_VARIABLE,
            help=f"Secret to open the dashboard with, at least {MIN_TOKEN} characters. Default: a new one each time.",
        ),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File whose first line is the token.")] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let in every user of this machine; with --host 127.0.0.1 only.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another host name under which browsers reach this machine, as by a proxy. Repeatable."),
    ] = None,
    runs: RunsOption = RUNS,
) -> None:
    """Serve optuna-dashboard for the studies until Ctrl-C. It opens with the token in the printed address."""
    from search.database.connect import default_url, open_as_allowed
    from search.web.dashboard import check_host_names, serve_dashboard

    other_names = allow_host or []
    check_host_names(other_names)
    token = choose_token(token, token_file, no_token)
    database = open_as_allowed(storage or default_url(runs), patience=PATIENCE_SECONDS)
    serve_dashboard(database, runs, host, port, token, other_names)


if __name__ == "__main__":
    run_command(main)
