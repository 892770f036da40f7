"""python -m search.dashboard: optuna-dashboard on the study database, with the trials' pictures."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.terminal.options import RUNS, RunsOption, StorageOption
from search.web.options import LOOPBACK, AllowHostOption, TokenFileOption, TokenOption
from search.web.tokens import choose_token

PATIENCE_SECONDS = 30
"""How long a page waits for a database that is away."""


def main(
    storage: StorageOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8080,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let in every user of this machine; with --host 127.0.0.1 only.")
    ] = False,
    allow_host: AllowHostOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Serve optuna-dashboard for the studies until Ctrl-C. It opens with the token in the printed address."""
    from search.database.connect import default_url, open_as_allowed
    from search.web.dashboard import serve_dashboard
    from search.web.hosts import check_host_names

    other_names = allow_host or []
    check_host_names(other_names)
    token = choose_token(token, token_file, no_token)
    database = open_as_allowed(storage or default_url(runs), patience=PATIENCE_SECONDS)
    serve_dashboard(database, runs, host, port, token, other_names)


if __name__ == "__main__":
    run_command(main)
