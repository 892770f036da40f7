"""The dashboard as a process of its own, and requests to it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.helpers.training import heed_signals


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A dashboard that runs, and the address that it has printed."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        assert process.stdout is not None
        self.process, self.port = process, port
        self.line = process.stdout.readline()
        self.url = urlsplit(self.line.split()[0])

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """(status, text, headers) of one request; a header's name is written with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace"), answer.headers
        finally:
            connection.close()

    @property
    def opening(self) -> str:
        """The path to open, with the token."""
        return f"{self.url.path}?{self.url.query}"

    def cookie(self) -> str:
        """What a browser has after opening that."""
        _, _, headers = self.ask(self.opening)
        return headers["Set-Cookie"].partition(";")[0]


@contextmanager
def serving(runs: Path, *words: str, **environment: str) -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-u", "-m", "search.dashboard", "--runs", str(runs), "--port", str(port), *words]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, env={**os.environ, **environment}, preexec_fn=heed_signals, **options)
    try:
        yield Served(process, port)
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert rest.strip() in ("", "interrupted"), rest  # quiet, whatever was asked
    assert process.returncode == 130
