"""The README and docs/ stay true: commands parse, options and tables are those of the code, links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import search.run
from docs.reference import COMMANDS, parameters_of, reference
from search.study.loading import STUDIES, known_studies, load_study_file

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES["README.md"] = README


def blocks(page: str, language: str = "") -> list[str]:
    """The code blocks of a page in a language; plain ones are commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    return [text for kind, text in found if kind == language]


def commands_on(page: str) -> list[list[str]]:
    """Every ``python -m`` in the page's plain code blocks and in its tables, from the module's name on."""
    lines = [line for block in blocks(page) for line in block.splitlines()]
    lines += re.findall(r"^\| `(python -m [^`]+)`", PAGES[page], flags=re.MULTILINE)
    parts = [part for line in lines for part in line.split("&&")]
    return [shlex.split(part.partition("python -m ")[2]) for part in parts if "python -m" in part]


def options_of(command: str) -> dict[str, Any]:
    return {flag: found for found in parameters_of(command) for flag in found.opts}


DOCUMENTED = [
    pytest.param(words, id=f"{page}: {' '.join(words)}")
    for page in PAGES
    for words in commands_on(page)
    if words[0].startswith(("search.", "maskcls."))
]


@pytest.mark.parametrize("words", DOCUMENTED)
def test_every_command_parses(words: list[str]) -> None:
    assert words[0] in COMMANDS
    known = options_of(words[0])
    used = [word for word in words[1:] if word.startswith("-")]
    assert set(used) <= known.keys()
    required = {found.opts[-1] for found in known.values() if found.required and found.param_type_name == "option"}
    assert required <= {known[flag].opts[-1] for flag in used}


def test_the_readme_names_each_command() -> None:
    assert {words[0] for words in commands_on("README.md")} >= set(COMMANDS)


def test_every_file_that_is_a_command_is_in_the_reference() -> None:
    files = [path for folder in ("search", "maskcls") for path in (ROOT / folder).glob("*.py")]
    found = {f"{path.parent.name}.{path.stem}" for path in files if "run_command(main)" in path.read_text("utf-8")}
    assert found == set(COMMANDS)


def test_the_reference_is_that_of_the_code() -> None:
    made = reference()
    assert PAGES["docs/reference.md"] == made, "Make it anew: python docs/reference.py > docs/reference.md"


def test_the_reference_is_made_by_the_command_that_it_names(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "docs" / "reference.py")]
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True).stdout
    assert made == PAGES["docs/reference.md"]


def test_help_shows_every_option() -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(search.run.main)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for flag in options_of("search.run"):
        assert flag in shown


def test_the_first_two_commands_install_and_run_and_test() -> None:
    first, second = blocks("README.md")[:2]
    assert first.startswith("python3 -m venv .venv && ")
    assert "search.run --study quickstart --n-trials 8" in first
    assert second.rstrip().endswith(".venv/bin/python -m pytest")


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-1] == blocks("README.md")[1].strip()


def test_every_study_is_listed_with_its_question_and_its_trials() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+\?) \| (\d+) \|$", PAGES["docs/studies.md"], flags=re.MULTILINE)
    assert {name: question for name, question, _ in rows} == {
        name: load_study_file(name).question for name in known_studies()
    }
    for name, _, trials in rows:
        command = f"python -m search.run --study {name} --n-trials {trials}\n"
        assert command in (STUDIES / f"{name}.py").read_text("utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/studies.md"])
def test_the_studies_that_are_shown_load(page: str, tmp_path: Path) -> None:
    (shown,) = blocks(page, "python")
    (tmp_path / "mine.py").write_text(shown)
    assert load_study_file(str(tmp_path / "mine.py")).question.endswith("?")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.is_file(), target
        if anchor:
            text = file.read_text("utf-8")
            titles = {
                re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
                for title in re.findall(r"^#+ (.*)$", text, re.M)
            }
            assert anchor in titles | set(re.findall(r'<a id="([^"]+)">', text)), target


@pytest.mark.parametrize("page", [*PAGES, "benchmarks/README.md"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    text = PAGES.get(page) or (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:search|maskcls|studies|tests|benchmarks|docs|deploy)/[\w/.-]*)`", text))
    assert not {name for name in named if not (ROOT / name).exists()}


def test_the_folders_of_the_readme_are_those_on_the_disk() -> None:
    tree = next(block for block in blocks("README.md") if block.startswith("maskcls/"))
    rows = {line.split()[0]: line for line in tree.splitlines()}
    folders = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert rows.keys() - {"runs/"} <= folders
    assert folders - {"runs/", "build/"} <= rows.keys() | {name for name in folders if name.endswith(".egg-info/")}
    for package in ("maskcls", "search"):
        rooms = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and not path.name.startswith("_")}
        assert rooms <= set(re.findall(r"\w+", rows[f"{package}/"]))


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.encode()) < 10_000
