"""Time limits for a database server: on connecting, on silence, and on locks."""

import os
import socket
from typing import Any

import sqlalchemy

LOCK_SECONDS = 30
"""How long a statement waits for rows or tables that another program has locked, before it is logged and retried."""


def connect_args(url: str) -> dict[str, Any]:
    """Options for the driver, without those that the URL sets itself.

    They detect within a minute a server that vanished silently (a firewall, a power failure).
    """
    parsed = sqlalchemy.make_url(url)
    if parsed.get_driver_name() not in ("psycopg", "psycopg2"):
        return {"connect_timeout": 10} if parsed.get_driver_name() in ("pymysql", "mysqldb") else {}
    options: dict[str, Any] = {
        "connect_timeout": 10,
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "application_name": f"mask-search {socket.gethostname()[:30]} {os.getpid()}",
    }
    if parsed.get_driver_name() == "psycopg":
        options["prepare_threshold"] = None  # a prepared statement belongs to one connection; pgbouncer swaps them
    return {name: value for name, value in options.items() if name not in parsed.query}


def limit_lock_waits(engine: sqlalchemy.Engine) -> None:
    """Limit how long statements wait for locks: in each transaction anew, as pgbouncer swaps connections."""
    if engine.dialect.name == "postgresql":

        @sqlalchemy.event.listens_for(engine, "begin")
        def set_limit(connection: sqlalchemy.Connection) -> None:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
