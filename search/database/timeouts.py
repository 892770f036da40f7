"""How to talk to a database server: time limits on connecting, on silence, and on locks."""

import os
import socket
from typing import Any

import sqlalchemy

LOCK_SECONDS = 30
"""A statement waits so long for rows or tables that another program has locked; then it is tried again, and said."""


def connect_args(url: str) -> dict[str, Any]:
    """What the driver is told; what the URL says itself stays.

    A server that is gone without a word (a firewall, a machine without power) is noticed within a minute.
    """
    parsed = sqlalchemy.make_url(url)
    if parsed.get_driver_name() not in ("psycopg", "psycopg2"):
        return {"connect_timeout": 10} if parsed.get_driver_name() in ("pymysql", "mysqldb") else {}
    wanted: dict[str, Any] = {
        "connect_timeout": 10,
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "application_name": f"mask-search {socket.gethostname()[:30]} {os.getpid()}",
    }
    if parsed.get_driver_name() == "psycopg":
        wanted["prepare_threshold"] = None  # prepared statements belong to a connection, which a pgbouncer changes
    return {name: value for name, value in wanted.items() if name not in parsed.query}


def limit_lock_waits(engine: sqlalchemy.Engine) -> None:
    """No statement waits without an end for another's lock. By the transaction, for the sake of a pgbouncer."""
    if engine.dialect.name == "postgresql":

        @sqlalchemy.event.listens_for(engine, "begin")
        def set_limit(connection: sqlalchemy.Connection) -> None:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
