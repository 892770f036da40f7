"""A MariaDB server of the tests' own, from the programs that this machine has (``apt-get install mariadb-server``), and
the driver pymysql; tests are skipped where one of them is missing.

A server refuses to run as root; then it runs as ``nobody`` here, in a folder of its own, and listens on a socket in
that folder only.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.postgres import as_whom

START_SECONDS = 60
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def program(name: str) -> str:
    """The path of a server's program; skips the test where there is none, and without the driver."""
    if importlib.util.find_spec("pymysql") is None:
        pytest.skip("pymysql is not installed (pip install 'mask-search[mysql]')")
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install mariadb-server)")
    return found


class Server:
    """A server in a folder of its own, which can be stopped and started again."""

    def __init__(self, folder: Path, whom: dict[str, Any]) -> None:
        self.folder, self.whom = folder, whom
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = "root", database: str = "studies") -> str:
        """For open_storage."""
        return f"mysql+pymysql://{user}@localhost/{database}?unix_socket={self.folder / 'socket'}"

    def start(self) -> None:
        """Until it takes connections."""
        words = [program("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-networking"]
        words += [f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}"]
        with (self.folder / "log").open("a") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **self.whom}
            self.process = subprocess.Popen(words, cwd=self.folder, **options)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        import pymysql

        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Statements of the server's owner; the rows of the last."""
        import pymysql

        connection = pymysql.connect(unix_socket=str(self.folder / "socket"), user="root", autocommit=True)
        with contextlib.closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def stop(self) -> None:
        """Kill it: nothing of it is kept."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def server() -> Iterator[Server]:
    """A fresh one with its default settings, and an empty database ``studies``."""
    make, whom = program("mariadb-install-db"), as_whom()
    folder = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))  # a short path: a socket's is at most 107 characters
    try:
        if whom:
            os.chown(folder, whom["user"], whom["group"])
        words = [make, "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal"]
        made = subprocess.run([*words, "--skip-test-db"], cwd=folder, capture_output=True, text=True, **whom)
        assert made.returncode == 0, made.stderr
        found = Server(folder, whom)
        try:
            found.start()
            found.execute("CREATE DATABASE studies CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
            yield found
        finally:
            found.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
