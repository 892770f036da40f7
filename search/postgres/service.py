"""Runs search.serve: the database's server for a team, and the dashboard beside it, until Ctrl-C."""

import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from maskcls.system.console import say, warn
from maskcls.system.errors import OutsideError, UserError
from search.postgres.accounts import account_for
from search.postgres.data import check_version, make_data, set_password
from search.postgres.home import NAME, Home, storage_url
from search.postgres.programs import Programs, find_programs
from search.postgres.server import Listening, check_certificate, configure, running, stop, why_ended
from search.system.shell import quoted
from search.system.signals import handled
from search.system.storage_url import STORAGE_VARIABLE
from search.web.server import ALL_INTERFACES, check_port, find_address, is_loopback, name_for_others

FIRST_PORT, LAST_PORT = 5432, 5532
"""PostgreSQL's own port, and the last that is tried when others have it at the first start."""

PATIENCE_SECONDS = 30
"""How long a page of the dashboard waits for a database that is away."""

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Request:
    """The options of search.serve."""

    runs: Path
    folder: Path | None
    """None: NAME in ``runs``."""
    host: str
    port: int | None
    cert: Path | None
    key: Path | None
    programs: Path | None
    """None: those of the pip package."""
    dashboard_port: int | None
    """None: without a dashboard."""
    token: str | None
    allowed_hosts: Iterable[str]


def serve(asked: Request) -> int:
    """Serve until a signal; returns the exit status. Raises UserError before the data are made for bad input, and
    OutsideError when the server does not start or ends by itself."""
    with handled((signal.SIGTERM, signal.SIGHUP), signal.default_int_handler):  # a start is ended as by Ctrl-C
        return _serve(asked)


def _serve(asked: Request) -> int:
    family, address = find_address(asked.host, 0)
    check_certificate(asked.cert, asked.key)
    if importlib.util.find_spec("psycopg") is None:
        raise UserError("The driver for PostgreSQL is not installed: pip install 'mask-search[serve]'.")
    folder = (asked.folder or asked.runs / NAME).absolute()
    account = account_for(folder)
    home, programs = Home(folder, account), Programs(find_programs(asked.programs), account)
    check_version(home, programs)
    home.prepare()
    lock = home.take()
    try:
        port = _choose_port(home, asked, family, address)
        if asked.dashboard_port is not None:
            check_port(family, address, asked.dashboard_port, "--dashboard-port")
        where = Listening(address, port, is_loopback(address), asked.cert is not None)
        password = home.password()
        make_data(home, programs)
        configure(home, programs, where, asked.cert, asked.key)
        set_password(home, programs)
        url = storage_url(password, name_for_others(asked.host), port, where.has_tls)
        with running(home, programs, where, lock) as process:
            home.remember(port, url)
            local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
            with _dashboard(asked, storage_url(password, local, port, where.has_tls)) as dashboard:
                _tell(home, programs, where, asked.host, url, dashboard)
                return _wait(home, process)
    finally:
        os.close(lock)


def _choose_port(home: Home, asked: Request, family: socket.AddressFamily, address: str) -> int:
    """The port that is asked for, else that of the earlier starts, else a free one. Raises UserError without one."""
    known = home.port()
    if asked.port is not None or known is not None:
        port = asked.port or known
        assert port is not None
        try:
            check_port(family, address, port)
        except UserError as error:
            if asked.port is not None:
                raise
            raise UserError(
                f"Port {port} of {address}, which the members' storage line names, cannot be listened on; end the"
                " program that has it, or give another --port and the members the new line."
            ) from error
        return port
    for port in range(FIRST_PORT, LAST_PORT):
        try:
            check_port(family, address, port)
        except UserError:
            continue
        return port
    check_port(family, address, FIRST_PORT)
    return FIRST_PORT


@contextmanager
def _dashboard(asked: Request, url: str) -> Iterator[str]:
    """Serve the dashboard in a thread, and yield its address; empty without one. It also makes the tables."""
    from search.database.connect import open_storage

    storage = open_storage(url, create=True, patience=PATIENCE_SECONDS)
    if asked.dashboard_port is None:
        storage.engine.dispose()
        yield ""
        return
    from search.web.dashboard import make_dashboard

    server, address = make_dashboard(
        storage, asked.runs, asked.host, asked.dashboard_port, asked.token, asked.allowed_hosts
    )
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield address
        server.shutdown()
        thread.join()


def _tell(home: Home, programs: Programs, where: Listening, host: str, url: str, dashboard: str) -> None:
    """Print what members need."""
    if not where.is_loopback and not where.has_tls:
        warn("Without --cert the scores travel unencrypted (the password does not): for a network that you trust.")
    served = f"PostgreSQL {programs.major()} serves {home.folder} on {where.address}:{where.port}"
    say(f"{served}. Members of the team add to their commands:")
    say(f"--storage {url}")
    say("or keep the password out of sight of others on their machines, by")
    say(f"export {STORAGE_VARIABLE}=$(cat FILE)   # FILE: a copy of {quoted(home.storage_file)}, readable by one alone")
    if where.is_loopback:
        say(f"Only this machine can connect; --host {ALL_INTERFACES[0]} lets others in.")
    if dashboard:
        say(f"Dashboard: {dashboard}")
    say("Ctrl-C stops the server; the same command goes on with the same data.")


def _wait(home: Home, process: "Popen[bytes]") -> int:
    """Until a signal has come and the server has ended; returns the exit status: 130 for Ctrl-C.

    A second signal stops at once; the next start recovers from that. Raises OutsideError when the server ends by
    itself.
    """
    came: list[int] = []
    asked = threading.Event()

    def note(number: int, _: object) -> None:
        came.append(number)
        asked.set()
        if len(came) > 1 and process.poll() is None:
            process.send_signal(signal.SIGQUIT)

    with handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), note):
        while process.poll() is None and not asked.wait(POLL_SECONDS):
            pass
        if not came:
            raise OutsideError(f"PostgreSQL has ended by itself: {why_ended(home)}.")
        say("Stopping ...")
        stop(process)
    say("Stopped; the same command goes on with the same data.")
    return 130 if came[0] == signal.SIGINT else 0
