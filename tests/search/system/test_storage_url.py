"""No secret of a storage's URL is printed, written or stored, whatever form the URL has, by whatever command."""

import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy

import search.compare
import search.delete
import search.export
import search.report
import search.run
import search.status
from maskcls.reading.source import SourceOptions
from maskcls.system import redact
from maskcls.system.console import run_command
from maskcls.system.errors import UserError, one_line
from maskcls.tasks.mask import MASK_TASK
from search.database.connect import open_storage
from search.gpus.slots import Slot
from search.storage.failures import CRASH, failure
from search.system.shell import place_options, quoted, storage_option
from search.system.storage_url import check_url, hide_secrets, shown_url, url_to_type
from tests.helpers import postgres
from tests.helpers.search import MINE, complain
from tests.helpers.training import run

SHOWN = {
    "sqlite:///runs/studies.db": "sqlite:///runs/studies.db",
    "sqlite:////a folder/studies.db": "sqlite:////a folder/studies.db",
    "postgresql+psycopg://me@host:5432/db": "postgresql+psycopg://me@host:5432/db",
    "postgresql+psycopg://me@%2Ftmp%2Fsocket/db": "postgresql+psycopg://me@%2Ftmp%2Fsocket/db",
    "postgresql+psycopg://me:S3cr%21tPart@host/db": "postgresql+psycopg://me:***@host/db",
    "postgresql+psycopg://:S3cretPart@[::1]/db": "postgresql+psycopg://:***@[::1]/db",
    "postgressql://me:S3cretPart@host/db": "postgressql://me:***@host/db",
    "postgresql://me:S3cret Part@host/db": "postgresql://me:***@host/db",
    "postgresql://me@/db?host=/tmp/x&password=S3cretPart": "postgresql://me@/db?host=/tmp/x&password=***",
    "postgresql://me@h/db?sslpassword=S3cretPart&sslmode=require": "postgresql://me@h/db?sslmode=require&sslpassword=***",
    "postgresql://me@h/db?options=-c%20x%3DS3cretPart": "postgresql://me@h/db?options=***",
    "postgresql://me@h/db?host=u:S3cretPart@x": "postgresql://me@h/db?host=***",
    "mysql+pymysql://me:S3cret?Part@h/db?charset=utf8mb4": "mysql+pymysql://me:***@h/db?charset=utf8mb4",
}
"""What is shown of URLs that can be read."""

UNCLEAR = (
    "postgresql+psycopg://me:S3cret@Part@w/rd@host",
    "postgresql+psycopg://me:x@S3cretPart/db",
    "postgresql://me:pw@host:S3cretPart/db",
    "postgresql://m/e:S3cretPart@host/db",
    "postgresql://me%3AS3cretPart@host/db",
    "postgresql://host/db;password=S3cretPart",
    "postgresql://host/db#S3cretPart!",
    "postgresql:/me:S3cretPart@host/db",
    "postgresql//me:S3cretPart@host/db",
    "me:S3cretPart@host/db",
    "S3cretPart",
    " postgresql://me:S3cretPart@host/db",
    "sqlite:///me:S3cretPart@host/db",
    "sqlite://me:S3cretPart@host/db",
)
SECRET_WORDS = ("S3cret", "S3cr", "Part")


@pytest.fixture(autouse=True)
def _nothing_hidden_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_hidden", set())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def assert_clean(text: str) -> None:
    assert not any(word in text for word in SECRET_WORDS), text


@pytest.mark.parametrize(("url", "expected"), SHOWN.items())
def test_a_url_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert shown_url(url) == expected
    typed, had_secrets = url_to_type(url)
    assert_clean(typed)
    assert "*" not in typed
    assert had_secrets == ("***" in expected)
    assert had_secrets or typed == url


@pytest.mark.parametrize("url", UNCLEAR[:1] + UNCLEAR[2:])
def test_of_an_unclear_url_the_scheme_alone_is_shown(url: str) -> None:
    assert shown_url(url) in ("...", "postgresql://...", "postgresql+psycopg://...", "sqlite://...")
    assert_clean(url_to_type(url)[0])


COMMANDS: dict[str, tuple[str, ...]] = {
    "search.run": ("--study", "quickstart"),
    "search.status": (),
    "search.report": ("--study", "toy"),
    "search.export": ("--study", "toy", "-o", "x.toml"),
    "search.confirm": ("--study", "toy"),
    "search.compare": ("toy:0", "toy:1"),
    "search.compose": ("--mask", "toy", "--gender", "toy", "--age", "toy", "-o", "x.toml"),
    "search.delete": ("--study", "toy"),
    "search.dashboard": (),
}
UNREACHABLE = "postgresql+psycopg://me:S3cr%21tPart@/db?host=/nowhere"
MISTYPED = (UNREACHABLE, "postgressql://me:S3cretPart@host/db", "postgresql://me:S3cretPart@host/db")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("url", [*UNCLEAR[:1], *UNCLEAR[2:11], *MISTYPED])
def test_no_command_tells_it(
    name: str,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    main: Callable[..., object] = importlib.import_module(name).main
    slots = [Slot("cpu.0", "cpu", "", 1)]  # search.run starts and reads nothing
    monkeypatch.setattr("search.supervisor.launch.make_slots", lambda *_: slots)
    monkeypatch.setattr("search.supervisor.pool.WorkerPool.start", lambda *_: None)
    monkeypatch.setattr("search.supervisor.start.open_data", lambda *_, **__: (tmp_path, SourceOptions()))
    monkeypatch.setattr("search.study.request.find_task", lambda *_: MASK_TASK)
    monkeypatch.setattr("search.supervisor.start.read_table", lambda *_: SimpleNamespace(hash="0123abcd"))
    assert_clean(complain(monkeypatch, capsys, main, *COMMANDS[name], "--storage", url))
    monkeypatch.setenv("MASKCLS_STORAGE", url)
    assert_clean(complain(monkeypatch, capsys, main, *COMMANDS[name]))
    if "@" in url:  # not even as a word too many
        assert_clean(complain(monkeypatch, capsys, main, *COMMANDS[name], url))


def test_a_password_with_an_unquoted_at_never_gets_to_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.database.connect._open", lambda *_, **__: pytest.fail("it was opened"))
    for url in UNCLEAR[0], UNCLEAR[2]:
        with pytest.raises(UserError, match="percent-encode each"):
            open_storage(url, create=False)
    check_url("postgresql+psycopg://me:p%40ss@host/db")


@pytest.mark.parametrize(
    "text",
    [
        'invalid connection option "S3cr!tPart"',
        "failed: postgresql+psycopg://me:S3cr%21tPart@host/db",
        "dsn='user=me password=S3cr!tPart host=x'",
        "repr: 'S3cr!tPart\\n'",
        "s3cr!tpart",
    ],
)
def test_what_a_driver_quotes_is_taken_out_of_every_error_text(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hide_secrets("postgresql+psycopg://me:S3cr%21tPart@host/db")
    error = RuntimeError(text)
    assert "cr!t" not in one_line(error)
    assert_clean(one_line(error))
    assert_clean(failure(CRASH, text)["error"])
    assert_clean(redact.redacted_traceback(error))

    def crash() -> None:
        raise error

    with pytest.raises(RuntimeError):
        run_command(_typed(crash))
    assert_clean(capsys.readouterr().err)
    sys.excepthook(RuntimeError, error, None)
    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert told.count("RuntimeError") == 2
    assert_clean(told)


def _typed(main: Callable[[], None]) -> Callable[[], None]:
    sys.argv[1:] = []
    return main


@pytest.mark.parametrize(
    "text", ["got postgresql://me:S3cret Part@host/db there", "x password=S3cretPart&y", "secret='S3cret'"]
)
def test_what_looks_like_a_password_is_taken_out_unnamed(text: str) -> None:
    assert_clean(redact.redacted(text))


def test_other_texts_stay_as_they_are() -> None:
    hide_secrets("postgresql+psycopg://db:db@host/db")
    hide_secrets("postgresql+psycopg://a:a@host/db")
    for text in (
        "There is a database, for example postgresql+psycopg://USER@HOST/DATABASE.",
        "http://127.0.0.1:8080/dashboard/",
        "a dbase",
        "token == other",
    ):
        assert redact.redacted(text) == text


def test_a_command_to_type_names_the_storage_only_where_it_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://me:S3cr%21tPart@host/db"
    words = place_options(Path("runs"), url)
    assert words == " --storage postgresql+psycopg://me@host/db"
    assert "~/.pgpass" in storage_option(url)[1]
    assert place_options(Path("a b"), "sqlite:///x y.db") == " --runs 'a b' --storage 'sqlite:///x y.db'"
    monkeypatch.setenv("MASKCLS_STORAGE", url)
    assert (place_options(Path("runs"), url), storage_option(url)[1]) == ("", "")


@pytest.mark.parametrize(
    "name", ["a b", "it's", "$(touch x)", "`x`", "a\nb", "\x1b[2J\\n'", "é", "x\udcff", "", "-x", "*"]
)
def test_a_shell_reads_back_what_is_printed(name: str) -> None:
    told = quoted(name)
    assert told.isprintable()
    ended = subprocess.run(["bash", "-c", f"printf %s {told}"], capture_output=True, check=True)
    assert ended.stdout.decode(errors="surrogateescape") == name


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.serving() as url:
        yield url


def _everything_in(url: str) -> str:
    """All rows of all tables."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(engine).get_table_names()
        rows = [row for table in tables for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"'))]
    engine.dispose()
    return "\n".join(map(str, rows))


def test_a_study_leaves_no_trace_of_the_password(
    server: str,
    tmp_path: Path,
    synthetic_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = server.replace("postgres@", "postgres:S3cr%21tPart@")
    started: list[Any] = []
    real = subprocess.Popen

    def start(words: Any, *args: Any, **options: Any) -> Any:
        started.append(words)
        return real(words, *args, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    (tmp_path / "mine.py").write_text(MINE)
    runs, out = tmp_path / "runs", tmp_path / "best.toml"
    words = ["--study", tmp_path / "mine.py", "--data", synthetic_folder, "--weights", "scratch", "--device", "cpu"]
    place = ["--runs", runs, "--storage", url]
    assert run(search.run.main, *words, "--n-trials", 2, *place) == 0
    assert run(search.run.main, *words, "--n-trials", 2, *place) == 0
    told = capfd.readouterr()
    assert "--storage 'postgresql+psycopg://postgres@/postgres?host=" in told.out
    assert "~/.pgpass" in told.out
    everything = [told.out, told.err]
    assert run(search.status.main, *place) == 0
    assert run(search.status.main, *place, "--study", "mine") == 0
    assert run(search.status.main, *place, "--json") == 0
    assert run(search.compare.main, "mine:0", "mine:1", *place) == 0
    assert run(search.export.main, "--study", "mine", "-o", out, *place) == 0
    assert run(search.report.main, "--study", "mine", *place) == 0
    assert run(search.status.main, "--study", "no", *place) == 2
    everything += [*capfd.readouterr(), _everything_in(server), json.dumps(started, default=str)]
    report = (runs / "mine" / "report" / "report.md").read_text()
    assert "--storage 'postgresql+psycopg://postgres@/postgres?host=" in report
    everything += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setenv("MASKCLS_STORAGE", url)
    assert run(search.run.main, *words, "--n-trials", 2, "--runs", runs) == 0
    told = capfd.readouterr()
    assert "--storage" not in told.out
    assert run(search.delete.main, "--study", "mine", "--runs", runs, "--yes") == 0
    everything += [told.out, told.err, *capfd.readouterr()]
    for text in everything:
        assert_clean(text)
