"""The folder of a server: what it refuses, and what it keeps from start to start."""

import os
import stat
from pathlib import Path

import pytest

import search.postgres.home
from maskcls.system.errors import UserError
from maskcls.system.redact import redacted
from search.postgres.accounts import Account
from search.postgres.home import NAME, Home, storage_url
from search.study.names import is_name
from tests.search.database.test_filesystem import mount


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the server run by another user")
def test_a_folder_that_the_servers_user_cannot_reach_is_refused_and_not_left(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    nobody = Account("nobody", 65534, 65534)
    with pytest.raises(UserError, match=r"as user nobody it cannot reach .*as an ordinary user"):
        Home(tmp_path / "pg", nobody).prepare()
    assert not (tmp_path / "pg").exists()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "runs" / NAME, None)
    made.prepare()
    return made


def test_no_study_has_the_name_of_the_folder() -> None:
    assert not is_name(NAME)


def test_a_password_is_made_once_and_read_by_its_owner_alone(home: Home) -> None:
    password = home.password()
    assert len(password) == 32
    assert home.password() == password
    assert Home(home.folder, None).password() == password
    assert stat.S_IMODE(home.password_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert redacted(f"it is {password}") == "it is ***"


def test_a_password_of_ones_own_must_not_be_easy_to_guess(home: Home) -> None:
    home.password_file.write_text("correct horse battery\n")
    assert home.password() == "correct horse battery"
    for short in ("", "\n", "  eleven char \n"):
        home.password_file.write_text(short)
        with pytest.raises(UserError, match="easy to guess; write at least 12"):
            home.password()


def test_the_port_and_the_url_are_kept(home: Home) -> None:
    assert home.port() is None
    home.remember(5433, "postgresql+psycopg://team:pw@box:5433/studies")
    assert home.port() == 5433
    assert home.storage_file.read_text() == "postgresql+psycopg://team:pw@box:5433/studies"  # and no newline
    assert stat.S_IMODE(home.storage_file.stat().st_mode) == 0o600
    for damaged in ("", "x", "0", "65536"):
        home.port_file.write_text(damaged)
        with pytest.raises(UserError, match="holds no port"):
            home.port()


def test_the_url_is_that_of_a_member() -> None:
    assert storage_url("a/b@c", "::1", 5432, False) == "postgresql+psycopg://team:a%2Fb%40c@[::1]:5432/studies"
    assert storage_url("pw", "box", 1, True) == "postgresql+psycopg://team:pw@box:1/studies?sslmode=require"


def test_two_commands_do_not_serve_one_folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.postgres.home, "SETTLE_SECONDS", 0.0)
    home.take()
    home.data.mkdir()
    (home.data / "postmaster.pid").write_text("4711\nelse\n")
    with pytest.raises(UserError, match=r"is served already, by process \d+ on .*, PostgreSQL is process 4711"):
        home.take()


def test_a_folder_with_other_files_and_one_on_a_network_are_refused(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.password()
    for left in (".0123.part", ".lock", "lost+found"):
        (home.folder / left).touch()
    home.prepare()  # these, and its own files, are no others
    (home.folder / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds thesis.tex, which is not of a server"):
        home.prepare()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, not a folder"):
        Home(tmp_path / "file" / "pg", None).prepare()
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path, "nfs4"))
    with pytest.raises(UserError, match=r"--data-dir .* file system \(nfs4\).* on a disk of this machine"):
        Home(tmp_path / "new", None).prepare()
    assert not (tmp_path / "new").exists()
