"""python -m search.dashboard: optuna-dashboard on the study database, with the trials' pictures."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.cli import run_command, say
from maskcls.errors import UserError

HOST = "127.0.0.1"
"""This machine only: the dashboard knows no passwords, and whoever reaches it can change the studies."""


def main(
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL. Default: studies.db in the --runs folder.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8080,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Serve optuna-dashboard for the studies, on this machine only, until Ctrl-C."""
    import socket

    from search.storage import default_url, open_storage

    opened = open_storage(storage or default_url(runs), create=False)
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise UserError(f"Port {port} is taken; --port names another.")
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import run_server

    pictures = runs / "artifacts"
    pictures.mkdir(parents=True, exist_ok=True)
    say(f"http://{HOST}:{port}/dashboard/ (Ctrl-C ends it)")
    run_server(opened, host=HOST, port=port, artifact_store=FileSystemArtifactStore(pictures))


if __name__ == "__main__":
    run_command(main)
