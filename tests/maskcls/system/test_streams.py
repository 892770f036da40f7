"""Commands whose standard streams were closed by whoever started them."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from maskcls.system.streams import is_terminal
from search.database.connect import create_study, default_url, open_storage
from search.study.record import KEY, Stored
from tests.helpers.search import TOY_STUDY

MENDED = """
import sys
from maskcls.system.streams import is_terminal, open_closed_streams
open_closed_streams()
with open({path!r}, "w") as file:
    assert file.fileno() > 2, file.fileno()
    print("heard", file=sys.stderr, flush=True)
    print("heard", flush=True)
    print([is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)], repr(sys.stdin.read()), file=file)
"""

CLOSED = [" ".join(some) for count in range(4) for some in itertools.combinations(("<&-", ">&-", "2>&-"), count)]


def type_in(words: str, closed: str) -> "subprocess.CompletedProcess[str]":
    """A command typed into a shell, with these streams closed."""
    return subprocess.run(
        ["sh", "-c", f"exec {words} {closed}"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams_are_nothing_and_no_file_takes_their_place(closed: str, tmp_path: Path) -> None:
    script, path = tmp_path / "mended.py", tmp_path / "file"
    script.write_text(MENDED.format(path=str(path)))
    ended = type_in(f"{sys.executable} {script}", closed)
    assert ended.returncode == 0, ended.stderr
    assert path.read_text() == "[False, False, False] ''\n"
    assert ended.stdout == ("" if " >&-" in f" {closed}" else "heard\n")
    assert ended.stderr == ("" if "2>&-" in closed else "heard\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_commands_do_their_work_without_streams(closed: str, tmp_path: Path) -> None:
    stored = Stored(TOY_STUDY, "synthetic", "hash", {"source": "scratch"}, "scratch", "auto", False, 0)
    create_study(open_storage(default_url(tmp_path), create=True), "toy", {KEY: stored.to_json()})
    assert type_in(f"{sys.executable} -m search.status --runs {tmp_path}", closed).returncode == 0
    ended = type_in(f"{sys.executable} -m search.delete --study toy --runs {tmp_path}", closed)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == ("2>&-" not in closed)
    if ended.stderr:
        assert "there is no terminal to ask on; use --yes" in ended.stderr
    assert type_in(f"{sys.executable} -m search.delete --study toy --yes --runs {tmp_path}", closed).returncode == 0


def test_a_stream_that_is_none_or_closed_is_no_terminal(tmp_path: Path) -> None:
    assert not is_terminal(None)
    with (tmp_path / "file").open("w") as file:
        assert not is_terminal(file)
    assert not is_terminal(file)
