"""The table of trials' small files: beside Optuna's tables, written once, read in one query, gone with its study."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import pytest
import sqlalchemy

import search.files.table
from search.database.connect import create_study, default_url, open_storage, open_to_read
from search.database.reconnecting import ReconnectingStorage
from search.files.place import TrialFiles, keep_files
from search.files.table import (
    FILES,
    copy_files,
    create_table,
    digest_of,
    forget_files,
    has_table,
    holds_files,
    read_files,
    read_picture,
    write_files,
)
from search.study.attributes import STUDY_ID

A, B = b"predictions", b"other predictions"
DIGEST_A, DIGEST_B = (hashlib.sha256(content).hexdigest() for content in (A, B))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReconnectingStorage:
    """An SQLite file with the table, as if machines shared it."""
    monkeypatch.setattr(search.files.table, "is_shared", lambda storage: True)
    storage = open_storage(default_url(tmp_path), create=True)
    assert create_table(storage) == ""
    assert create_table(storage) == ""  # it is there
    return storage


def rows(storage: ReconnectingStorage) -> list[tuple[str, int, str, bytes]]:
    with storage.engine.connect() as connection:
        found = connection.execute(sqlalchemy.select(FILES.c.study, FILES.c.trial, FILES.c.name, FILES.c.content))
        return sorted((*row,) for row in found)


def test_a_file_is_stored_once_and_read_by_its_digest(storage: ReconnectingStorage) -> None:
    for _ in range(2):  # a worker that died before it ended its trial does it again
        write_files(storage, "s", 7, {"valid.npz": A})
    write_files(storage, "s", 7, {"valid.npz": memoryview(B)})  # a worker that had lost the trial
    write_files(storage, "s", 8, {"valid.npz": B})
    write_files(storage, "t", 7, {"valid.npz": B})
    assert len(rows(storage)) == 4
    assert read_files(storage, "s", "valid.npz", {7: DIGEST_A, 8: DIGEST_B, 9: DIGEST_A}) == {7: A, 8: B}
    assert read_files(storage, "s", "valid.npz", {8: DIGEST_A}) == {}
    assert read_files(storage, "s", "test.npz", {7: DIGEST_A}) == {}
    assert read_files(storage, "s", "valid.npz", {}) == {}


def test_two_workers_that_store_one_file_at_once_are_both_done(
    storage: ReconnectingStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, other = sqlalchemy.insert, iter([True])

    def raced(table: sqlalchemy.Table) -> sqlalchemy.Insert:
        """The other worker's row comes between the look for it and our own."""
        if next(other, False):
            monkeypatch.undo()
            with storage.engine.begin() as connection:
                row = {"study": "s", "trial": 7, "name": "valid.npz", "digest": DIGEST_A, "content": A}
                connection.execute(insert(FILES).values(**row))
        return insert(table)

    monkeypatch.setattr(sqlalchemy, "insert", raced)
    write_files(storage, "s", 7, {"valid.npz": A})
    assert rows(storage) == [("s", 7, "valid.npz", A)]


def test_a_truncated_row_is_told_apart_from_a_missing_one(storage: ReconnectingStorage) -> None:
    write_files(storage, "s", 7, {"valid.npz": A, "picture": B})
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.update(FILES).values(content=A[:-1]))
    assert read_files(storage, "s", "valid.npz", {7: DIGEST_A, 8: DIGEST_A}) == {7: None}
    assert read_picture(storage, "picture") is None
    write_files(storage, "s", 8, {"picture": B})
    assert read_picture(storage, "picture") == B


def test_optuna_does_not_mind_the_table(storage: ReconnectingStorage, tmp_path: Path) -> None:
    plain = optuna.storages.RDBStorage(default_url(tmp_path))  # as the plain dashboard opens it
    assert plain.get_current_version() == plain.get_head_version()
    optuna.create_study(storage=plain, study_name="theirs")
    assert optuna.get_all_study_names(open_storage(default_url(tmp_path), create=True)) == ["theirs"]


def test_a_copy_has_files_of_its_own_and_those_of_deleted_studies_go(storage: ReconnectingStorage) -> None:
    old, new = uuid4().hex, uuid4().hex
    create_study(storage, "new", {STUDY_ID: new})
    write_files(storage, old, 7, {"valid.npz": A})
    copy_files(storage, old, new)
    forget_files(storage)
    assert rows(storage) == [(new, 7, "valid.npz", A)]


def test_the_files_of_a_study_that_is_stored_meanwhile_stay(storage: ReconnectingStorage) -> None:
    old, new, other = uuid4().hex, uuid4().hex, open_storage(storage.url, create=False)
    write_files(storage, old, 7, {"valid.npz": A})

    def store_another(*statement: Any) -> None:
        """A command on another machine makes a copy after all that was read before this statement."""
        if statement[1].is_delete and new not in {study for study, *_ in rows(other)}:
            create_study(other, "new", {STUDY_ID: new})
            write_files(other, new, 7, {"valid.npz": B})

    sqlalchemy.event.listen(storage.engine, "before_execute", store_another)
    forget_files(storage)
    assert rows(storage) == [(new, 7, "valid.npz", B)]


def test_a_database_without_the_table_has_no_files_and_is_left_so(tmp_path: Path) -> None:
    storage = open_storage(default_url(tmp_path), create=True)
    assert create_table(storage) == ""  # SQLite is for one machine: nothing is stored twice
    assert not has_table(storage)
    assert not holds_files(storage)
    assert keep_files(storage, "s", 7, tmp_path, {"valid.npz": A}) == {}
    reader = open_to_read(default_url(tmp_path))
    assert read_files(reader, "s", "valid.npz", {7: DIGEST_A}) == {}
    assert read_picture(reader, "picture") is None
    copy_files(storage, "s", "t")
    forget_files(storage)
    assert not has_table(storage)


def test_why_the_table_cannot_be_created_is_told_and_trials_still_say_where_they_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.files.table, "is_shared", lambda storage: True)
    open_storage(default_url(tmp_path), create=True)
    reader = open_to_read(default_url(tmp_path))
    assert "readonly database" in create_table(reader)
    (attribute,) = keep_files(reader, "s", 7, tmp_path / "toy" / "trial-0007", {"valid.npz": A}).values()
    files = TrialFiles(**attribute)
    assert files.digests == {}
    assert files.place.endswith(f":{tmp_path}/toy/trial-0007")


def test_a_digest_is_that_of_the_record() -> None:
    assert digest_of(A) == digest_of(memoryview(A)) == DIGEST_A
