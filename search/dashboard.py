"""python -m search.dashboard: optuna-dashboard on the study database, with the trials' pictures."""

import contextlib
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError, one_line
from search.system.storage_url import StorageOption

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from optuna.storages import RDBStorage

LOOPBACK = "127.0.0.1"
"""This machine only; its other users reach it too. Whoever is let in can change the studies."""

PATIENCE_SECONDS = 30
"""A page waits so long for a database that is away; the next one finds it again later."""

EVERYWHERE = ("0.0.0.0", "::")


MIN_TOKEN = 12
"""Characters of a token: whoever reaches the port may try as many as there is time for."""

TOKEN_VARIABLE = "MASKCLS_TOKEN"


def main(
    storage: StorageOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN_VARIABLE,
            help=f"What a browser has to know, at least {MIN_TOKEN} characters. Default: a new one each time.",
        ),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File whose first line is the token.")] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let in every user of this machine; on the loopback only.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name by which browsers ask for this machine, as through a proxy. May repeat."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Serve optuna-dashboard for the studies until Ctrl-C, to whoever knows the token in the address it prints."""
    from search.database.connect import default_url, open_as_allowed
    from search.web.gate import Gate
    from search.web.hosts import Hosts
    from search.web.server import find_address, is_loopback, make_server

    names = [*(allow_host or []), *([] if host in EVERYWHERE else [host])]
    wrong = next((name for name in allow_host or [] if not Hosts.is_name(name)), None)
    if wrong is not None:
        raise UserError(f"--allow-host takes the name of a machine, such as box.example.org, not {wrong!r}.")
    chosen = _token(token, token_file, no_token)
    opened = open_as_allowed(storage or default_url(runs), patience=PATIENCE_SECONDS)
    family, address = find_address(host, port)
    if chosen is None and not is_loopback(address):
        raise UserError(f"--no-token would let in everybody who reaches {host}; it is for the loopback, {LOOPBACK}.")
    gate = Gate(_application(opened, runs), chosen, Hosts(names))
    with make_server(family, address, port, gate) as server:
        say(f"{_url(host, port, chosen)} (Ctrl-C ends it)")
        server.serve_forever()


def _token(given: str | None, file: Path | None, no_token: bool) -> str | None:
    """The token to ask for; None for none. Raises UserError for one that is too short, and for two."""
    is_typed = given is not None and given != os.environ.get(TOKEN_VARIABLE)
    if sum((is_typed, file is not None, no_token)) > 1:
        raise UserError("--token, --token-file and --no-token exclude each other; give one of them.")
    if no_token:
        return None
    where = "--token" if is_typed else TOKEN_VARIABLE
    if file is not None:
        given, where = _first_line(file), f"--token-file {file}"
    if given is None:
        return secrets.token_urlsafe()
    if len(given.strip()) < MIN_TOKEN:
        raise UserError(
            f"The token of {where} has {len(given.strip())} characters, which is soon guessed; give at least"
            f" {MIN_TOKEN}, or none to have one made."
        )
    return given


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The token file {file} cannot be read: {one_line(error)}.") from error
    return lines[0].strip() if lines else ""


def _application(storage: "RDBStorage", runs: Path) -> "WSGIApplication":
    import optuna_dashboard
    from optuna.artifacts import FileSystemArtifactStore

    pictures = runs / "artifacts"
    with contextlib.suppress(OSError):  # of somebody who may only read
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
