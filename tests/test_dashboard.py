"""search.dashboard, really started: the gate before it, its addresses, and what it says when it cannot listen."""

import http.client
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import heed_signals
from search_fixtures import TOY_STUDY, complain

import search.dashboard
from maskcls.errors import UserError
from search.server import find_address, is_loopback
from search.storage import create_study, default_url, open_storage
from search.stored import KEY, Stored

STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)
PATHS = ("/", "/dashboard/", "/api/studies", "/artifacts/0/0", "/static/bundle.js", "/favicon.ico", "/nothing")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one study."""
    folder = tmp_path_factory.mktemp("runs")
    create_study(open_storage(default_url(folder), create=True), "toy", {KEY: STORED.to_json()})
    return folder


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

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        """(status, text, headers) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=headers)
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
def serving(runs: Path, *words: str) -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-u", "-m", "search.dashboard", "--runs", str(runs), "--port", str(port), *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=heed_signals
    )
    try:
        yield Served(process, port)
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert rest.strip() in ("", "interrupted"), rest  # quiet, whatever was asked
    assert process.returncode == 130


@pytest.fixture(scope="module")
def guarded(runs: Path) -> Iterator[Served]:
    with serving(runs, "--host", "0.0.0.0") as served:
        yield served


def test_on_the_loopback_it_is_open_as_it_always_was(runs: Path) -> None:
    with serving(runs) as served:
        assert served.line == f"http://127.0.0.1:{served.port}/dashboard/ (Ctrl-C ends it)\n"
        assert served.ask("/dashboard/")[0] == 200
        status, text, _ = served.ask("/api/studies")
        assert status == 200
        assert '"study_name": "toy"' in text


def test_elsewhere_a_long_token_is_made_and_printed(guarded: Served) -> None:
    assert re.fullmatch(r"token=[\w-]{43}", guarded.url.query)
    assert (guarded.url.hostname, guarded.url.port) == (socket.gethostname().lower(), guarded.port)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_served(guarded: Served, path: str, method: str) -> None:
    status, text, headers = guarded.ask(path, method)
    assert status == 403
    assert text == "" if method == "HEAD" else text.count("\n") == 1
    assert headers["Content-Type"].startswith("text/plain")
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("query", ["?token=", "?token=wrong", "?token=%C3%A9%00", "?Token={}", "?token={}x", "?x={}"])
def test_another_token_is_none(guarded: Served, query: str) -> None:
    token = guarded.url.query.partition("=")[2]
    assert guarded.ask(f"/dashboard/{query.format(token)}")[0] == 403


@pytest.mark.parametrize("cookie", ["", "mask_search_{port}=", "mask_search_{port}=wrong", "other={key}", "\x7f;;=,"])
def test_another_cookie_is_none(guarded: Served, cookie: str) -> None:
    key = guarded.cookie().partition("=")[2]
    assert guarded.ask("/api/studies", Cookie=cookie.format(port=guarded.port, key=key))[0] == 403


def test_the_token_sets_a_cookie_that_opens_and_leaves_the_address(guarded: Served) -> None:
    status, text, headers = guarded.ask(f"{guarded.opening}&tab=2")
    assert (status, text) == (303, "")
    assert headers["Location"] == "/dashboard/?tab=2"
    cookie, *flags = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} == set(flags)
    assert guarded.url.query.partition("=")[2] not in cookie
    assert guarded.ask("/dashboard/", Cookie=cookie)[0] == 200
    status, text, _ = guarded.ask("/api/studies", Cookie=f"theme=dark; {cookie}")
    assert status == 200
    assert '"study_name": "toy"' in text
    assert guarded.ask("/artifacts/1/no-such-picture", Cookie=cookie)[0] == 404


@pytest.mark.parametrize("path", ["//elsewhere.example/", "/%0d%0aX-Bad:%201"])
def test_the_way_back_leads_to_this_machine_only(guarded: Served, path: str) -> None:
    status, _, headers = guarded.ask(f"{path}?{guarded.url.query}")
    assert status == 303
    assert re.match(r"/[^/]", headers["Location"])
    assert "X-Bad" not in headers


def test_a_token_of_ones_own_works_on_the_loopback_too(runs: Path) -> None:
    with serving(runs, "--token", "open sesame & é") as served:
        assert served.ask("/api/studies")[0] == 403
        assert served.ask("/api/studies", Cookie=served.cookie())[0] == 200


def test_a_slow_visitor_keeps_nobody_waiting(guarded: Served) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port)) as slow:
        slow.sendall(b"GET / HT")
        assert guarded.ask("/api/studies", Cookie=guarded.cookie())[0] == 200


def test_an_address_or_a_port_that_cannot_be_is_one_line(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, place = search.dashboard.main, ("--runs", str(runs))
    told = complain(monkeypatch, capsys, main, *place, "--host", "192.0.2.1")
    assert "192.0.2.1 is no address of this machine" in told
    told = complain(monkeypatch, capsys, main, *place, "--host", "no such host")
    assert "There is no address 'no such host'" in told
    assert "An empty --token" in complain(monkeypatch, capsys, main, *place, "--token", "")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for host in ("127.0.0.1", "0.0.0.0"):
            told = complain(monkeypatch, capsys, main, *place, "--host", host, "--port", port)
            assert f"Port {port} is taken; --port names another." in told


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)],
)
def test_the_loopback_is_known_by_any_of_its_names(host: str, expected: bool) -> None:
    try:
        _, address = find_address(host, 8080)
    except UserError:
        pytest.skip(f"this machine has no {host}")
    assert is_loopback(address) == (host != "0.0.0.0")
