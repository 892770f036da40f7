"""What MySQL and MariaDB need that PostgreSQL does not: how a database is made, and what each connection is told."""

import sqlalchemy
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

ATTRIBUTES = ("study_user_attributes", "study_system_attributes", "trial_user_attributes", "trial_system_attributes")
"""Optuna's tables of attributes, whose values are texts in the column value_json."""

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
    cannot hold every name; and when another process has had the lock for TABLES_SECONDS.
    """
    query = "SELECT @@character_set_database, @@collation_database"
    character_set, collation = connection.execute(sqlalchemy.text(query)).one()
    _check_collation(connection, character_set, collation, f"DATABASE {_quoted(connection)}")
    _take_lock(connection)


def complete_tables(connection: sqlalchemy.Connection) -> None:
    """Let attributes be as long as in other databases, where they are not yet: Optuna's columns take 64 KiB in this
    one. So are tables that Optuna's own programs have made, or a process that was killed before it came to this.

    Raises UserError as begin_tables does, by the collation that names of studies have in their table.
    """
    query = "SELECT character_set_name, collation_name FROM information_schema.columns"
    query += " WHERE table_schema = DATABASE() AND table_name = 'studies' AND column_name = 'study_name'"
    character_set, collation = connection.execute(sqlalchemy.text(query)).one()
    _check_collation(connection, character_set, collation, f"TABLE {_quoted(connection)}.studies CONVERT TO")
    if _short_tables(connection):
        _take_lock(connection)
        for table in _short_tables(connection):  # another process may have widened them meanwhile
            kind = LONGTEXT().compile(dialect=connection.dialect)
            connection.execute(sqlalchemy.text(f"ALTER TABLE {table} MODIFY value_json {kind}"))


def _check_collation(connection: sqlalchemy.Connection, character_set: str, collation: str, owned: str) -> None:
    """``owned``: what its owner has to alter, in the words of a statement."""
    if character_set != "utf8mb4" or not collation.endswith(("_bin", "_cs")):
        raise UserError(
            f"The database {_shown(connection)} has the collation {collation}, by which two studies could have one"
            f" name; let its owner type: ALTER {owned} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin."
        )


def _take_lock(connection: sqlalchemy.Connection) -> None:
    """Take the lock of TABLES_LOCK until the connection ends; a connection may take it twice."""
    take = sqlalchemy.text("SELECT GET_LOCK(:lock, :seconds)")
    if connection.execute(take, {"lock": TABLES_LOCK, "seconds": TABLES_SECONDS}).scalar() != 1:
        raise UserError(
            f"Another process has been creating the tables of the database {_shown(connection)} for {TABLES_SECONDS} s;"
            " let it end, then give this command again."
        )


def _short_tables(connection: sqlalchemy.Connection) -> list[str]:
    """The tables of attributes whose values are limited to 64 KiB."""
    query = "SELECT table_name FROM information_schema.columns"
    query += " WHERE table_schema = DATABASE() AND column_name = 'value_json' AND data_type <> 'longtext'"
    return [table for (table,) in connection.execute(sqlalchemy.text(query)) if table in ATTRIBUTES]


def _quoted(connection: sqlalchemy.Connection) -> str:
    """The database's name as a statement has it."""
    return "`" + str(connection.engine.url.database).replace("`", "``") + "`"


def _shown(connection: sqlalchemy.Connection) -> str:
    return shown_url(connection.engine.url.render_as_string(hide_password=False))


def statement_bytes(content: bytes) -> int:
    """How much a statement takes that stores this file."""
    return len(content) + sum(map(content.count, ESCAPED)) + STATEMENT_BYTES


def max_statement_bytes(session: Session) -> int:
    """How much the server takes in a statement. It breaks the connection off at a larger one, as if it went away."""
    return int(session.execute(sqlalchemy.text("SELECT @@max_allowed_packet")).scalar_one())
