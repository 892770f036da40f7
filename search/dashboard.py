"""python -m search.dashboard: optuna-dashboard on the study database, with the trials' pictures."""

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from maskcls.cli import run_command, say
from maskcls.errors import UserError
from search.address import StorageOption

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from optuna.storages import RDBStorage

LOOPBACK = "127.0.0.1"
"""This machine only. The dashboard itself knows no passwords, and whoever reaches it can change the studies."""

EVERYWHERE = ("0.0.0.0", "::")


def main(
    storage: StorageOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own loopback needs the token.")
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8080,
    token: Annotated[
        str | None, typer.Option(help="What a browser has to know. Default: a new one where one is needed.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Serve optuna-dashboard for the studies until Ctrl-C: on this machine only, or elsewhere with a token."""
    from search.gate import TokenGate
    from search.server import find_address, is_loopback, make_server
    from search.storage import default_url, open_storage

    if token is not None and not token.strip():
        raise UserError("An empty --token keeps nobody out; give another one, or none to have one made.")
    opened = open_storage(storage or default_url(runs), create=False)
    family, address = find_address(host, port)
    if token is None and not is_loopback(address):
        token = secrets.token_urlsafe()
    application = _application(opened, runs)
    gate = application if token is None else TokenGate(application, token)
    with make_server(family, address, port, gate) as server:
        say(f"{_url(host, port, token)} (Ctrl-C ends it)")
        server.serve_forever()


def _application(storage: "RDBStorage", runs: Path) -> "WSGIApplication":
    import optuna_dashboard
    from optuna.artifacts import FileSystemArtifactStore

    pictures = runs / "artifacts"
    pictures.mkdir(parents=True, exist_ok=True)
    return optuna_dashboard.wsgi(storage, artifact_store=FileSystemArtifactStore(pictures))


def _url(host: str, port: int, token: str | None) -> str:
    """What to open in a browser; from elsewhere one needs this machine's name for 0.0.0.0."""
    name = socket.gethostname() if host in EVERYWHERE else host
    shown = f"[{name}]" if ":" in name else name
    asked = "" if token is None else f"?token={quote(token, safe='')}"
    return f"http://{shown}:{port}/dashboard/{asked}"


if __name__ == "__main__":
    run_command(main)
