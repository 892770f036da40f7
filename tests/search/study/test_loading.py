"""Study files as people have them: what is there is loaded, and what cannot be is told in one right sentence."""

from pathlib import Path

import pytest

import search.run
from maskcls.system.errors import UserError
from search.study.loading import load_study_file
from search.study.names import checked_name
from tests.helpers.search import MINE, complain
from tests.helpers.training import one_line

DATACLASS = """from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Size:
    rows: int
"""


def refused(name: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        load_study_file(str(name))
    return one_line(caught.value)


def test_a_file_whose_name_begins_with_an_underscore_is_loaded_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "_mine.py").write_text(MINE, encoding="utf-8")
    assert load_study_file(str(tmp_path / "_mine.py")).question == "Does dropout help the toy?"
    assert "No study named '_mine' in studies/" in refused("_mine")
    assert "No study named '__init__' in studies/" in refused("__init__")


def test_a_file_may_hold_a_dataclass(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DATACLASS + MINE, encoding="utf-8")
    assert load_study_file(str(tmp_path / "mine.py")).question == "Does dropout help the toy?"


@pytest.mark.parametrize("status", ["", "0", "3", "'enough'"])
def test_a_file_that_ends_the_command_is_refused_and_does_not_end_it(tmp_path: Path, status: str) -> None:
    (tmp_path / "mine.py").write_text(f"import sys\nsys.exit({status})\n", encoding="utf-8")
    assert f"{tmp_path}/mine.py calls sys.exit (status " in refused(tmp_path / "mine.py")


def test_what_is_there_instead_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to("/not/mounted.py")
    (tmp_path / "folder.py").mkdir()
    assert "is a link to /not/mounted.py, which does not exist" in refused(tmp_path / "link.py")
    assert "is a folder, not a study file" in refused(tmp_path / "folder.py")
    assert f"There is no study file {tmp_path}/none.py." in refused(tmp_path / "none.py")


def test_a_file_in_another_encoding_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(MINE.replace("toy", "Größe").encode("latin-1"))
    assert "cannot be loaded" in refused(tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--seed", "2147483648"), "seed must be less than 2147483648, not 2147483648"),
        (("--seed", "99999999999"), "seed must be less than 2147483648, not 99999999999"),
        (("--runs", "link"), "--runs link: link is a link to /not/mounted, which is not there"),
        (("--runs", "link/below"), "link is a link to /not/mounted"),
        (("--runs", "mine.py"), "mine.py is a file, not a folder"),
        (("--runs", "mine.py/below"), "mine.py is a file, not a folder"),
        (("--name", "名" * 61), "(183 bytes)"),
        (("--name", "a" * 101), "at most 100 characters"),
        (("--name", "🙂"), "made of letters"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_made(
    words: tuple[str, ...],
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE, encoding="utf-8")
    Path("link").symlink_to("/not/mounted")
    told = complain(monkeypatch, capsys, search.run.main, "--study", "mine.py", "--n-trials", "1", *words)
    assert hint in told
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "link"}


def test_a_name_of_any_letters_fits_with_all_that_is_added_to_it() -> None:
    name = "名" * 60
    assert checked_name(name) == name
    assert len(f"~{name}-confirm~{'0' * 36}".encode()) <= 255
