"""A table of our own beside Optuna's: the small files of trials, where machines share a database but no folder.

A row is found by the study's id (attributes.STUDY_ID, which a renaming keeps), the trial's number, the file's name and
its digest. What a trial that has ended was judged by is told by its own attribute (place.TrialFiles), which is stored
in the very step that ends it. So rows are written before that and outside the study's lock: those of a worker that
lost its trial meanwhile are never read.

SQLite is for one machine, whose folder has the files: nothing is stored twice there.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from uuid import uuid4

import sqlalchemy
import sqlalchemy.exc
from sqlalchemy.orm import Session

from maskcls.run.record import Content
from maskcls.system.errors import UserError
from search.database import mysql
from search.database.errors import DatabaseError, is_transient, reason
from search.database.reconnecting import ReconnectingStorage
from search.database.rows import is_value_of_a_study
from search.study.attributes import STUDY_ID
from search.system.storage_url import shown_url

NAME = "mask_search_files"
"""The table's name; no table of Optuna's begins so."""

MAX_BYTES = 2**28
"""Of a file. MySQL chooses the type of the column by it."""

PROBE = "probe"
"""The study of a row that is never committed; no study has this id."""

FILES = sqlalchemy.Table(
    NAME,
    sqlalchemy.MetaData(),
    sqlalchemy.Column("study", sqlalchemy.String(64), primary_key=True),
    sqlalchemy.Column("trial", sqlalchemy.Integer, primary_key=True, autoincrement=False),
    sqlalchemy.Column("name", sqlalchemy.String(128), primary_key=True),
    sqlalchemy.Column("digest", sqlalchemy.String(64), primary_key=True),
    sqlalchemy.Column("content", sqlalchemy.LargeBinary(MAX_BYTES), nullable=False),
)


def is_shared(storage: ReconnectingStorage) -> bool:
    """Whether machines without a common folder may share the database: it is a server's."""
    return not storage.is_file


def digest_of(content: Content) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def has_table(storage: ReconnectingStorage) -> bool:
    """Whether the database has the table; those of earlier commits have none."""
    return storage.transact(_has_table)


def _has_table(session: Session) -> bool:
    return sqlalchemy.inspect(session.connection()).has_table(NAME)


def create_table(storage: ReconnectingStorage) -> str:
    """Create the table in a database that machines share, unless it exists. Not in a turn.

    Returns why files cannot be stored there, as for a user without the right to create it or to write into it; else
    nothing.
    """
    if not is_shared(storage):
        return ""
    if not has_table(storage):
        try:
            storage.transact(lambda session: FILES.create(session.connection()))
        except DatabaseError as error:
            if not has_table(storage):  # else another process has created it meanwhile
                return reason(error)
    return _why_not_writable(storage)


def holds_files(storage: ReconnectingStorage) -> bool:
    """Whether files of trials are to be stored in this database. Not in a turn."""
    return is_shared(storage) and has_table(storage) and not _why_not_writable(storage)


def _why_not_writable(storage: ReconnectingStorage) -> str:
    """Why the table takes no row from this user; nothing when it does. Raises DatabaseError when the database is away.

    Asked before a trial's files are written: another user may have created the table, and an hour of training must not
    be lost for that.
    """
    row = {"study": PROBE, "trial": 0, "name": uuid4().hex, "digest": "", "content": b""}
    return _why_refused(storage, [_select_probe(), sqlalchemy.insert(FILES).values(**row)])


def _select_probe() -> sqlalchemy.Select[tuple[int]]:
    return sqlalchemy.select(FILES.c.trial).where(FILES.c.study == PROBE)


def _why_refused(storage: ReconnectingStorage, statements: Sequence[sqlalchemy.Executable]) -> str:
    """Why the database refuses this user one of the statements, which are undone; nothing when it takes them. Not in a
    turn. Raises DatabaseError when the database is away."""

    def probe(session: Session) -> None:
        for statement in statements:
            session.execute(statement)
        session.rollback()

    try:
        storage.transact(probe)
    except DatabaseError as error:
        if error.__cause__ is None or is_transient(error.__cause__):
            raise
        return reason(error)
    return ""


def check_may_copy(storage: ReconnectingStorage) -> None:
    """Raise UserError when copy_files would be refused to this user. Not in a turn."""
    if is_shared(storage) and has_table(storage) and (why := _why_not_writable(storage)):
        raise _refused(storage, "copied", why, "fill")


def check_may_forget(storage: ReconnectingStorage) -> None:
    """Raise UserError when forget_files would be refused to this user. Not in a turn."""
    delete = sqlalchemy.delete(FILES).where(FILES.c.study == PROBE)
    if is_shared(storage) and has_table(storage) and (why := _why_refused(storage, [_select_probe(), delete])):
        raise _refused(storage, "deleted", why, "delete from")


def _refused(storage: ReconnectingStorage, done: str, why: str, right: str) -> UserError:
    return UserError(
        f"The files of trials in {shown_url(storage.url)} cannot be {done}: {why}. Let the owner of its table {NAME}"
        f" grant the right to read and {right} it."
    )


def write_files(storage: ReconnectingStorage, study_id: str, trial: int, contents: Mapping[str, Content]) -> None:
    """Store files of a trial, by name. A second call with the same contents changes nothing.

    Raises DatabaseError, also for a file that is too large for the server.
    """
    if mysql.is_mysql(storage.engine):
        _check_sizes(storage, trial, contents)

    def write(session: Session) -> None:
        for name, content in contents.items():
            row = {"study": study_id, "trial": trial, "name": name, "digest": digest_of(content)}
            if session.execute(sqlalchemy.select(FILES.c.trial).filter_by(**row)).first() is None:
                session.execute(sqlalchemy.insert(FILES).values(**row, content=bytes(content)))

    try:
        storage.transact(write)
    except DatabaseError as error:
        if not isinstance(error.__cause__, sqlalchemy.exc.IntegrityError):
            raise
        storage.transact(write)  # another worker has stored the same file meanwhile


def _check_sizes(storage: ReconnectingStorage, trial: int, contents: Mapping[str, Content]) -> None:
    """Raise DatabaseError for a file that is too large for a statement of MySQL."""
    limit = storage.transact(mysql.max_statement_bytes)
    for name, content in contents.items():
        size = mysql.statement_bytes(bytes(content))
        if size > limit:
            raise DatabaseError(
                f"The database {shown_url(storage.url)} cannot store {name} of trial {trial}: it takes {size:,} bytes,"
                f" and the server's max_allowed_packet is {limit:,}. Let its owner type: SET GLOBAL max_allowed_packet"
                f" = {2 ** math.ceil(math.log2(size))}."
            )


def read_files(
    storage: ReconnectingStorage, study_id: str, name: str, digests: Mapping[int, str]
) -> dict[int, bytes | None]:
    """Trial number -> content of its file of this name and digest, for those that are stored; in one query.

    None for a content that is not the one that was written: a damaged row must not make the others unusable.
    """
    columns = FILES.c

    def read(session: Session) -> list[tuple[int, str, bytes]]:
        if not digests or not _has_table(session):
            return []
        query = sqlalchemy.select(columns.trial, columns.digest, columns.content)
        query = query.where(columns.study == study_id, columns.name == name, columns.trial.in_(digests))
        query = query.where(columns.digest.in_(set(digests.values())))
        return [(number, digest, bytes(content)) for number, digest, content in session.execute(query)]

    rows = [row for row in storage.transact(read) if digests[row[0]] == row[1]]
    return {number: content if digest_of(content) == digest else None for number, digest, content in rows}


def read_picture(storage: ReconnectingStorage, name: str) -> bytes | None:
    """An undamaged file of this name, of whatever trial: a picture's name is the id of its artifact."""

    def read(session: Session) -> list[tuple[str, bytes]]:
        if not _has_table(session):
            return []
        query = sqlalchemy.select(FILES.c.digest, FILES.c.content).where(FILES.c.name == name)
        return [(digest, bytes(content)) for digest, content in session.execute(query)]

    return next((content for digest, content in storage.transact(read) if digest_of(content) == digest), None)


def copy_files(storage: ReconnectingStorage, study_id: str, new_id: str) -> None:
    """Give a copy of a study the files of its trials, on the server itself."""
    columns = FILES.c

    def copy(session: Session) -> None:
        if _has_table(session):
            query = sqlalchemy.select(
                sqlalchemy.literal(new_id), columns.trial, columns.name, columns.digest, columns.content
            ).where(columns.study == study_id)
            session.execute(sqlalchemy.insert(FILES).from_select([column.name for column in FILES.columns], query))

    storage.transact(copy)


def forget_files(storage: ReconnectingStorage) -> None:
    """Delete the files of studies that are no longer stored, those that were deleted in the dashboard too.

    By one statement, which sees a study with its files or neither: others may store studies meanwhile.
    """

    def forget(session: Session) -> None:
        if _has_table(session):
            session.execute(sqlalchemy.delete(FILES).where(~is_value_of_a_study(STUDY_ID, FILES.c.study)))

    storage.transact(forget)
