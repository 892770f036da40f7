"""search.serve, with a real server: who gets in, what is kept, and how it ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from optuna.study import StudyDirection

import search.serve
from maskcls.system.errors import UserError
from search.database.connect import has_study, open_storage
from search.postgres.accounts import account_for
from search.postgres.data import make_data, set_password
from search.postgres.home import Home, storage_url
from search.postgres.programs import Programs, find_programs
from search.postgres.server import Listening, check_certificate, configure, running
from tests.helpers.dashboard import free_port
from tests.helpers.postgres import programs as package
from tests.helpers.processes import wait_for
from tests.helpers.search import complain
from tests.helpers.training import heed_signals


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder that the user can reach as whom the server of root runs, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="serve-", dir="/tmp"))
    made.chmod(0o755)
    try:
        Programs(package(), account_for(made / "pg")).major()
    except UserError as error:
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    yield made
    shutil.rmtree(made, ignore_errors=True)


def start(folder: Path, *words: str) -> tuple["subprocess.Popen[str]", list[str]]:
    """The command, and what it has said until it serves."""
    command = [sys.executable, "-u", "-m", "search.serve", "--data-dir", str(folder / "pg"), *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, preexec_fn=heed_signals
    )
    assert process.stdout is not None
    told: list[str] = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("Ctrl-C stops"):
            return process, told
    raise AssertionError("".join(told))


def connect(url: str, **changes: object) -> "psycopg.Connection[tuple[object, ...]]":
    parsed = sqlalchemy.make_url(url)
    values = {"host": parsed.host, "port": parsed.port, "user": parsed.username, "dbname": parsed.database}
    return psycopg.connect(**{**values, "password": parsed.password, "connect_timeout": 10, **changes})  # type: ignore[arg-type]


def test_a_team_is_served_until_a_signal_and_again_with_the_same_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(free_port())
    process, told = start(folder, "--dashboard-port", port, "--port", str(free_port()))
    try:
        (url,) = [line.split()[1] for line in told if line.startswith("--storage ")]
        assert (folder / "pg" / "storage").read_text() == url
        assert any(f"http://127.0.0.1:{port}/dashboard/?token=" in line for line in told)
        socket.create_connection(("127.0.0.1", int(port)), timeout=10).close()
        storage = open_storage(url, create=False)
        storage.create_new_study([StudyDirection.MAXIMIZE], "kept")
        storage.engine.dispose()
        for wrong in ({"password": "wrong"}, {"password": ""}, {"user": "postgres"}, {"dbname": "postgres"}):
            with pytest.raises(psycopg.OperationalError, match=r"password|pg_hba.conf"):
                connect(url, **wrong)
        with closing(connect(url)) as connection:
            rights = connection.execute("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user")
            assert rights.fetchone() == (False, False)
            assert connection.execute("SHOW max_connections").fetchone() == ("100",)
        assert "is served already, by process" in complain(
            monkeypatch, capsys, search.serve.main, "--data-dir", str(folder / "pg"), "--no-dashboard"
        )
        password = (folder / "pg" / "password").read_text().strip()
        server = int((folder / "pg" / "data" / "postmaster.pid").read_text().split()[0])
        seen = [path.read_bytes() for pid in (server, process.pid) for path in Path(f"/proc/{pid}").glob("cmdline")]
        seen += [Path(f"/proc/{server}/environ").read_bytes(), (folder / "pg" / "server.log").read_bytes()]
        assert len(seen) == 4
        assert not any(password.encode() in text for text in seen)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert not (folder / "pg" / "data" / "postmaster.pid").exists()
    finally:
        process.kill()
        process.wait()
    again, told = start(folder, "--no-dashboard")  # with the same port
    try:
        assert f"--storage {url}\n" in told
        assert has_study(open_storage(url, create=False), "kept")
        server = int((folder / "pg" / "data" / "postmaster.pid").read_text().split()[0])
        again.kill()  # its server does not outlive it
        wait_for(lambda: not Path(f"/proc/{server}/cmdline").exists() or not _command_of(server))
        wait_for(lambda: not (folder / "pg" / "data" / "postmaster.pid").exists())
    finally:
        again.kill()
        again.wait()
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGQUIT)


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def with_tls() -> Path:
    """The programs of a system's PostgreSQL, which has TLS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("the system has no PostgreSQL")


def make_certificate(folder: Path, name: str = "tls") -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=box"]
    subprocess.run(["openssl", *words, "-out", cert, "-keyout", key], check=True, capture_output=True)
    return cert, key


def test_with_a_certificate_members_must_use_tls(folder: Path) -> None:
    cert, key = make_certificate(folder)
    account = account_for(folder / "pg")
    home, programs = Home(folder / "pg", account), Programs(find_programs(with_tls()), account)
    home.prepare()
    lock, where = home.take(), Listening("127.0.0.1", free_port(), is_loopback=True, has_tls=True)
    make_data(home, programs)
    configure(home, programs, where, cert, key)
    set_password(home, programs)
    url = storage_url(home.password(), "127.0.0.1", where.port, True)
    with running(home, programs, where, lock):
        with closing(connect(url, sslmode="require")) as connection:
            found = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert found.fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf|no encryption"):
            connect(url, sslmode="disable")
    os.close(lock)


def test_a_server_without_tls_does_not_serve_with_a_certificate(tmp_path: Path) -> None:
    home, where = Home(tmp_path / "pg", None), Listening("127.0.0.1", 1, is_loopback=True, has_tls=True)
    home.prepare()
    home.data.mkdir()
    (tmp_path / "postgres").write_text('#!/bin/sh\ntest "$*" = "-C ssl_library -D $PWD" || exit 1\necho\n')
    (tmp_path / "postgres").chmod(0o755)
    with pytest.raises(UserError, match="was built without TLS"):
        configure(home, Programs(tmp_path, None), where, tmp_path / "cert", tmp_path / "key")
    assert not home.key.exists()


def test_files_that_are_no_certificate_and_key_are_refused(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    check_certificate(None, None)
    check_certificate(cert, key)
    for one in ((cert, None), (None, key)):
        with pytest.raises(UserError, match="belong together"):
            check_certificate(*one)
    with pytest.raises(UserError, match=r"--key .*nowhere cannot be read"):
        check_certificate(cert, tmp_path / "nowhere")
    for wrong in (other, cert):
        with pytest.raises(UserError, match="are no certificate and its key"):
            check_certificate(cert, wrong)


def test_a_port_that_another_program_has_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ("--data-dir", str(folder / "pg"))
        told = complain(monkeypatch, capsys, search.serve.main, *words, "--port", port)
        assert f"Port {port} is in use; choose another with --port." in told
        told = complain(monkeypatch, capsys, search.serve.main, *words, "--dashboard-port", port)
        assert f"Port {port} is in use; choose another with --dashboard-port." in told
        (folder / "pg" / "port").write_text(port)
        told = complain(monkeypatch, capsys, search.serve.main, *words, "--no-dashboard")
        assert f"Port {port} of 127.0.0.1, which the members' storage line names" in told
    assert not (folder / "pg" / "data").exists()
