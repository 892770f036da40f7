"""How a client of a database server introduces itself; its limits on connecting, silence and locks; its clock."""

import os
import socket
from contextlib import closing
from typing import Any

import sqlalchemy

from search.database.mysql import is_mysql

LOCK_SECONDS = 30
"""How long a statement waits for rows or tables that another program has locked, before it is logged and retried."""


SILENT_SECONDS = 300
"""How long a statement may take on MySQL before its server counts as gone; drivers have no keepalives to set."""

MAX_NAME = 63
"""Characters of a client's name that PostgreSQL keeps."""


def connect_args(url: str, slot: str = "") -> dict[str, Any]:
    """Options for the driver, without those that the URL sets itself. ``slot``: a worker's.

    They detect within a minute a PostgreSQL server that vanished silently (a firewall, a power failure).
    """
    parsed = sqlalchemy.make_url(url)
    if parsed.get_driver_name() in ("pymysql", "mysqldb"):
        limits = {"connect_timeout": 10, "read_timeout": SILENT_SECONDS, "write_timeout": SILENT_SECONDS}
        return {name: seconds for name, seconds in limits.items() if name not in parsed.query}
    if parsed.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    options: dict[str, Any] = {
        "connect_timeout": 10,
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "application_name": client_name(socket.gethostname(), slot, os.getpid()),
    }
    if parsed.get_driver_name() == "psycopg":
        options["prepare_threshold"] = None  # a prepared statement belongs to one connection; pgbouncer swaps them
    return {name: value for name, value in options.items() if name not in parsed.query}


def client_name(host: str, slot: str, pid: int) -> str:
    """The name of this process in the server's list of clients: its host, its slot if it is a worker, its pid."""
    words = ["mask-search", host[:30], *([slot] if slot else [])]
    return f"{' '.join(words)[: MAX_NAME - len(f' {pid}')]} {pid}"


def begin_transactions(engine: sqlalchemy.Engine) -> None:
    """Begin every transaction with a limit on its waits for locks and with UTC, which Optuna's heartbeats lack.

    They are local times of the connection's time zone, which differs between machines (PGTZ) and jumps in spring. In
    each transaction anew, as pgbouncer swaps connections; on MySQL with each connection, as its locks are too.
    """
    if engine.dialect.name == "postgresql":

        @sqlalchemy.event.listens_for(engine, "begin")
        def begin(connection: sqlalchemy.Connection) -> None:
            connection.exec_driver_sql(f"{lock_timeout(LOCK_SECONDS)}; SET LOCAL TIME ZONE 'UTC'")

    if is_mysql(engine):

        @sqlalchemy.event.listens_for(engine, "connect")
        def connect(connection: Any, _: Any) -> None:
            with closing(connection.cursor()) as cursor:
                cursor.execute(f"SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = {LOCK_SECONDS}")


def lock_timeout(seconds: float) -> str:
    """PostgreSQL's statement that limits, until the end of the transaction, how long a lock is waited for."""
    return f"SET LOCAL lock_timeout = '{1000 * seconds:.0f}ms'"
