"""optuna-dashboard behind the access check, served until Ctrl-C."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from wsgiref.simple_server import WSGIServer

import optuna_dashboard

from maskcls.system.console import say
from maskcls.system.errors import UserError
from search.database.reconnecting import ReconnectingStorage
from search.storage.files import ARTIFACTS
from search.web.access import AccessMiddleware
from search.web.hosts import AllowedHosts
from search.web.pictures import PictureStore
from search.web.server import ALL_INTERFACES, find_address, is_loopback, make_server, name_for_others

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def serve_dashboard(
    storage: ReconnectingStorage, runs: Path, host: str, port: int, token: str | None, other_names: Iterable[str]
) -> None:
    """Print the address to open, and serve it until Ctrl-C to all who know the token; None: to all on this machine.

    Raises UserError as make_dashboard does.
    """
    server, url = make_dashboard(storage, runs, host, port, token, other_names)
    with server:
        say(f"{url} (Ctrl-C stops it)")
        server.serve_forever()


def make_dashboard(
    storage: ReconnectingStorage, runs: Path, host: str, port: int, token: str | None, other_names: Iterable[str]
) -> tuple[WSGIServer, str]:
    """The dashboard's server, which listens already, and the address to open.

    ``other_names`` are host names of this machine that browsers may use besides its own. Raises UserError when
    ``host`` and ``port`` cannot be listened on, and when there is no token and other machines can reach ``host``.
    """
    family, address = find_address(host, port)
    if token is None and not is_loopback(address):
        raise UserError(f"--no-token would let in everybody who reaches {host}; use it with --host 127.0.0.1 only.")
    names = [*other_names, *([] if host in ALL_INTERFACES else [host])]
    application = AccessMiddleware(_application(storage, runs / ARTIFACTS), token, AllowedHosts(names))
    return make_server(family, address, port, application), _url(host, port, token)


def _application(storage: ReconnectingStorage, artifacts: Path) -> "WSGIApplication":
    with contextlib.suppress(OSError):  # a user may have read access only
        artifacts.mkdir(parents=True, exist_ok=True)
    return optuna_dashboard.wsgi(storage, artifact_store=PictureStore(artifacts, storage))


def _url(host: str, port: int, token: str | None) -> str:
    """The address to open in a browser."""
    name = name_for_others(host)
    bracketed = f"[{name}]" if ":" in name else name
    query = "" if token is None else f"?token={quote(token, safe='')}"
    return f"http://{bracketed}:{port}/dashboard/{query}"
