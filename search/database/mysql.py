"""What MySQL and MariaDB need that PostgreSQL does not: how a database is made, and what each connection is told."""

import sqlalchemy
from optuna.storages._rdb import models
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.orm import Session

from maskcls.system.errors import UserError
from search.system.storage_url import shown_url

DIALECTS = ("mysql", "mariadb")

TABLES_LOCK, TABLES_SECONDS = "mask-search-tables", 60
"""The lock under which tables are created, and how long to wait for it."""

ISOLATION_LEVEL = "READ COMMITTED"
"""As PostgreSQL's default. MySQL's own would read from a snapshot what others have changed since, and recent servers
refuse to change such rows (innodb_snapshot_isolation)."""

ATTRIBUTES = (
    models.StudyUserAttributeModel,
    models.StudySystemAttributeModel,
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
)


ESCAPED = (b"\0", b"\n", b"\r", b"\x1a", b"\\", b"'", b'"')
"""Bytes that take two in a statement."""

STATEMENT_BYTES = 1024
"""What the rest of a statement that stores a file takes, at most."""


def is_mysql(engine: sqlalchemy.Engine) -> bool:
    """Whether the database is MySQL's or MariaDB's."""
    return engine.dialect.name in DIALECTS


def begin_tables(connection: sqlalchemy.Connection) -> None:
    """To be called before tables are created in an empty database: takes the lock of that until the connection ends.

    Raises UserError for a database in which names of studies would be equal that differ in their letters' case, or that
    cannot hold every name.
    """
    character_set, collation = connection.execute(
        sqlalchemy.text("SELECT @@character_set_database, @@collation_database")
    ).one()
    if character_set != "utf8mb4" or not collation.endswith(("_bin", "_cs", "_0900_as_cs")):
        name = connection.engine.url.database
        raise UserError(
            f"The database {shown_url(connection.engine.url.render_as_string(hide_password=False))} has the collation"
            f" {collation}, by which two studies could have one name; let its owner type: ALTER DATABASE {name}"
            " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin."
        )
    take = sqlalchemy.text("SELECT GET_LOCK(:lock, :seconds)")
    connection.execute(take, {"lock": TABLES_LOCK, "seconds": TABLES_SECONDS})


def statement_bytes(content: bytes) -> int:
    """How much a statement takes that stores this file."""
    return len(content) + sum(map(content.count, ESCAPED)) + STATEMENT_BYTES


def max_statement_bytes(session: Session) -> int:
    """How much the server takes in a statement. It breaks the connection off at a larger one, as if it went away."""
    return int(session.execute(sqlalchemy.text("SELECT @@max_allowed_packet")).scalar_one())


def widen_attributes(connection: sqlalchemy.Connection) -> None:
    """Let attributes be as long as in other databases: Optuna's columns take 64 KiB in this one."""
    for model in ATTRIBUTES:
        kind = LONGTEXT().compile(dialect=connection.dialect)
        connection.execute(sqlalchemy.text(f"ALTER TABLE {model.__tablename__} MODIFY value_json {kind}"))
