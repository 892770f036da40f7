"""search.dashboard, really started: the gate before it, its addresses, and what it says when it cannot listen."""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import search.dashboard
import search.web.server
from maskcls.system.errors import UserError
from search.database.connect import create_study, default_url, open_storage
from search.study.record import KEY, Stored
from search.web.server import find_address, is_loopback
from tests.helpers.dashboard import Served, free_port, serving
from tests.helpers.search import TOY_STUDY, complain

STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)
PATHS = ("/", "/dashboard/", "/api/studies", "/artifacts/0/0", "/static/bundle.js", "/favicon.ico", "/nothing")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A --runs folder with one study."""
    folder = tmp_path_factory.mktemp("runs")
    create_study(open_storage(default_url(folder), create=True), "toy", {KEY: STORED.to_json()})
    return folder


@pytest.fixture(scope="module")
def guarded(runs: Path) -> Iterator[Served]:
    with serving(runs, "--host", "0.0.0.0") as served:
        yield served


@pytest.fixture(scope="module")
def allowing(runs: Path) -> Iterator[Served]:
    """One that answers to two more names and has its token from the environment."""
    names = ("--allow-host", "Box.Example.org", "--allow-host", "other.example")
    with serving(runs, *names, MASKCLS_TOKEN="from the environment") as served:
        yield served


def test_the_loopback_needs_the_token_too_since_other_users_reach_it(runs: Path) -> None:
    with serving(runs) as served:
        assert re.fullmatch(
            rf"http://127\.0\.0\.1:{served.port}/dashboard/\?token=[\w-]{{43}} \(Ctrl-C stops it\)\n", served.line
        )
        assert served.ask("/api/studies")[0] == 403
        assert served.ask("/api/studies", Cookie=served.cookie())[0] == 200


def test_who_wants_it_has_the_loopback_without_a_token_but_never_for_other_names_and_sites(runs: Path) -> None:
    with serving(runs, "--no-token") as served:
        assert served.line == f"http://127.0.0.1:{served.port}/dashboard/ (Ctrl-C stops it)\n"
        assert served.ask("/api/studies", Host=f"evil.example:{served.port}")[0] == 403
        assert served.ask("/api/studies/1", "DELETE", Origin="http://evil.example")[0] == 403
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
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} == set(flags)
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
    assert "192.0.2.1 is not an address of this machine" in told
    told = complain(monkeypatch, capsys, main, *place, "--host", "no such host")
    assert "There is no address 'no such host'" in told
    for token in ("  ", "short", " " * 11 + "x"):
        assert "which is easy to guess" in complain(monkeypatch, capsys, main, *place, "--token", token)
    told = complain(monkeypatch, capsys, main, *place, "--no-token", "--host", "0.0.0.0")
    assert "would let in everybody" in told
    told = complain(monkeypatch, capsys, main, *place, "--no-token", "--token", "long enough a token")
    assert "exclude each other" in told
    told = complain(monkeypatch, capsys, main, *place, "--token-file", str(runs / "not-there"))
    assert "cannot be read" in told
    assert "--allow-host takes the name" in complain(monkeypatch, capsys, main, *place, "--allow-host", "a b")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for host in ("127.0.0.1", "0.0.0.0"):
            told = complain(monkeypatch, capsys, main, *place, "--host", host, "--port", port)
            assert f"Port {port} is in use; choose another with --port." in told


def test_a_token_is_taken_from_the_environment_or_a_file(allowing: Served, runs: Path, tmp_path: Path) -> None:
    assert "token=from%20the%20environment" in allowing.line
    assert allowing.ask("/api/studies")[0] == 403
    assert allowing.ask("/api/studies", Cookie=allowing.cookie())[0] == 200
    (tmp_path / "token").write_text("from a file é\n\n")
    with serving(runs, "--token-file", str(tmp_path / "token"), MASKCLS_TOKEN="from the environment") as served:
        assert "token=from%20a%20file%20%C3%A9 " in served.line
        assert served.ask("/api/studies", Cookie=served.cookie())[0] == 200


OURS = (
    "127.0.0.1",
    "127.0.0.1:{port}",
    "10.1.2.3:80",
    "[::1]:8080",
    "localhost",
    "LOCALHOST.:1",
    "{name}",
    "{name}:99",
)
FOREIGN = ("", "evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f000001")
FOREIGN += ("127.1", "2130706433", "127.0.0.1@evil.example", "evil.example/127.0.0.1", "127.0.0.1 evil.example", "[::1")


@pytest.mark.parametrize("host", OURS)
def test_names_of_this_machine_are_answered(guarded: Served, host: str) -> None:
    asked = host.format(port=guarded.port, name=socket.gethostname())
    assert guarded.ask("/api/studies", Cookie=guarded.cookie(), Host=asked)[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_anybody_may_lead_here_is_not(guarded: Served, host: str, method: str) -> None:
    asked = host.format(port=guarded.port)
    for path in ("/api/studies", guarded.opening):
        status, text, headers = guarded.ask(path, method, Cookie=guarded.cookie(), Host=asked)
        assert status == 403
        assert "Set-Cookie" not in headers
        assert method == "HEAD" or "does not answer to the name" in text


def test_a_name_that_the_user_allows_is_answered_and_may_be_a_proxys(allowing: Served) -> None:
    cookie = allowing.cookie()
    assert allowing.ask("/api/studies", Cookie=cookie, Host="box.example.org:99")[0] == 200
    assert allowing.ask("/api/studies", Cookie=cookie, Host="other.example")[0] == 200
    assert allowing.ask("/api/studies", Cookie=cookie, Host="sub.other.example")[0] == 403
    note = json.dumps({"version": 1, "body": "seen"}).encode()
    change: dict[str, Any] = {"path": "/api/studies/1/note", "method": "PUT", "body": note, "Cookie": cookie}
    change["Content_Type"] = "application/json"
    assert allowing.ask(**change, Origin="https://box.example.org")[0] != 403  # its pages, by another name than ours
    assert allowing.ask(**change, Origin="https://third.example")[0] == 403
    told = allowing.ask(**change, Host="box.example.org:99", Origin="http://box.example.org:98")
    assert told[0] == 403  # another program of that machine


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_no_other_site_changes_anything(guarded: Served, method: str, headers: dict[str, str]) -> None:
    sent = {name: text.format(port=guarded.port) for name, text in headers.items()}
    status, text, _ = guarded.ask("/api/studies/1", method, Cookie=guarded.cookie(), **sent)
    assert status == 403
    assert "Another site's page" in text


def test_the_dashboards_own_pages_do_and_so_do_programs(guarded: Served) -> None:
    own = {"Origin": f"http://127.0.0.1:{guarded.port}", "Sec_Fetch_Site": "same-origin"}
    for headers in ({}, own):
        body = json.dumps({"study_name": f"new-{len(headers)}", "directions": ["maximize"]}).encode()
        sent = {"Cookie": guarded.cookie(), "Content_Type": "application/json", **headers}
        assert guarded.ask("/api/studies", "POST", body, **sent)[0] == 201


def test_reading_from_a_click_elsewhere_is_no_change(guarded: Served) -> None:
    assert guarded.ask(guarded.opening, Sec_Fetch_Site="cross-site", Origin="http://chat.example")[0] == 303


@pytest.mark.parametrize(
    "before",
    [
        'prefs={"a":1}',
        "valueless",
        "a[b]=1",
        "a name=1",
        "n@me=1",
        "caf\xe9=1",
        "path=/",
        "=",
        ";;",
        "{name}=old",
        '"',
    ],
)
def test_cookies_of_other_programs_lock_nobody_out(guarded: Served, before: str) -> None:
    cookie = guarded.cookie()
    odd = before.format(name=cookie.partition("=")[0]) if before.startswith("{name}") else before
    assert guarded.ask("/api/studies", Cookie=f"{odd}; {cookie}")[0] == 200
    assert guarded.ask("/api/studies", Cookie=f"{cookie}; {odd}")[0] == 200


@pytest.mark.parametrize("path", ["/", "/dashboard/", "/api/studies", "/artifacts/1/0", "/static/bundle.js", "/no"])
def test_every_answer_has_the_headers_that_protect_it(guarded: Served, path: str) -> None:
    for cookie in ("", guarded.cookie()):
        _, _, headers = guarded.ask(path, Cookie=cookie)
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert any("frame-ancestors 'none'" in policy for policy in headers.get_all("Content-Security-Policy"))
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("place", ["/artifacts", "//artifacts", "/artifacts/"])
@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.xhtml", "x.png"])
def test_a_file_that_somebody_has_uploaded_runs_nothing(guarded: Served, name: str, place: str) -> None:
    content = b"<script>fetch('/api/studies')</script>"
    asked = {"file": f"data:text/html;base64,{base64.b64encode(content).decode()}", "filename": name}
    sent = {"Cookie": guarded.cookie(), "Content_Type": "application/json"}
    status, text, _ = guarded.ask("/api/artifacts/1", "POST", json.dumps(asked).encode(), **sent)
    assert status == 201
    found = json.loads(text)["artifact_id"]
    status, text, headers = guarded.ask(f"{place.rstrip('/')}/1/{found}", Cookie=guarded.cookie())
    assert (status, text.encode()) == (200, content)
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content_Length": str(2**40)}, 413),
        ({"Content_Length": str(33 * 2**20)}, 413),
        ({"Content_Length": "9" * 5000}, 413),
        ({"Content_Length": "-1"}, 400),
        ({"Content_Length": "many"}, 400),
        ({"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_a_body_without_bounds_is_not_read(guarded: Served, headers: dict[str, str], expected: int) -> None:
    assert guarded.ask("/api/artifacts/1", "POST", Cookie=guarded.cookie(), **headers)[0] == expected


def test_a_crowd_that_says_nothing_keeps_nobody_out(guarded: Served) -> None:
    crowd = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(300)]
    try:
        for slow in crowd[::2]:
            with suppress(OSError):
                slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        began = time.monotonic()
        assert guarded.ask("/api/studies", Cookie=guarded.cookie())[0] == 200
        assert time.monotonic() - began < 20  # and not after the crowd's own time has run out
        open_files = len(list(Path(f"/proc/{guarded.process.pid}/fd").iterdir()))
        assert open_files < 200
    finally:
        for one in crowd:
            one.close()


def test_a_head_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.web.server, "HEADER_SECONDS", 0.3)
    with drip_server() as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.settimeout(10)
        slow.sendall(b"GET / HTTP/1.1\r\n")
        cut = False
        for _ in range(200):  # a few letters at a time: never silent, never done
            try:
                slow.sendall(b"X")
                slow.setblocking(False)
                with suppress(BlockingIOError):
                    cut = slow.recv(1) == b"" or cut
                slow.setblocking(True)
            except OSError:
                cut = True
            if cut:
                break
            time.sleep(0.05)
        assert cut


@contextmanager
def drip_server() -> Iterator[int]:
    """The server in this process, before an application that answers nothing of interest."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "0")])
        return []

    port = free_port()
    with search.web.server.make_server(socket.AF_INET, "127.0.0.1", port, application) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.shutdown()
            thread.join(10)


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
