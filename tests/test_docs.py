"""The README stays true: its commands parse, its options are all of them, its tables are those of the code."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import maskcls.evaluate
import maskcls.predict
import maskcls.train
import search.compare
import search.compose
import search.confirm
import search.dashboard
import search.delete
import search.export
import search.report
import search.run
import search.status
from maskcls.config import TrainConfig
from maskcls.data.augment import AUGMENTATIONS, DESCRIPTIONS
from search.study.loading import STUDIES, known_studies, load_study_file

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = {
    module.__name__: module.main
    for module in (
        maskcls.evaluate,
        maskcls.predict,
        maskcls.train,
        search.compare,
        search.compose,
        search.confirm,
        search.dashboard,
        search.delete,
        search.export,
        search.report,
        search.run,
        search.status,
    )
}


def blocks(language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for kind, text in found if kind == language]


def readme_commands() -> list[list[str]]:
    """Every ``python -m`` of the README's plain code blocks, from the module's name on."""
    lines = [line for block in blocks() for line in block.splitlines() if "python -m" in line]
    parts = [part for line in lines for part in line.split("&&")]
    return [shlex.split(part.partition("python -m ")[2]) for part in parts if "python -m" in part]


def options_of(main: object) -> dict[str, object]:
    app = typer.Typer(add_completion=False)
    app.command()(main)  # type: ignore[arg-type]
    command = typer.main.get_command(app)
    options = [found for found in command.params if found.param_type_name == "option" and found.name != "help"]
    return {flag: parameter for parameter in options for flag in parameter.opts}


@pytest.mark.parametrize("words", [words for words in readme_commands() if words[0] in COMMANDS], ids=" ".join)
def test_every_command_of_the_readme_parses(words: list[str]) -> None:
    known = options_of(COMMANDS[words[0]])
    used = [word for word in words[1:] if word.startswith("-")]
    assert set(used) <= known.keys()
    required = {parameter.opts[-1] for parameter in known.values() if parameter.required}  # type: ignore[attr-defined]
    given = {known[flag].opts[-1] for flag in used}  # type: ignore[attr-defined]
    assert required <= given


def test_the_readme_runs_each_command() -> None:
    assert {words[0] for words in readme_commands()} >= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_readme(name: str) -> None:
    for flag in options_of(COMMANDS[name]):
        assert re.search(rf"`{re.escape(flag)}[` ]", README), f"{flag} of {name}"


def test_help_shows_every_option() -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(search.run.main)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for flag in options_of(search.run.main):
        assert flag in shown


def test_the_first_two_commands_install_and_run_and_test() -> None:
    first, second = blocks()[:2]
    assert first.startswith("python3 -m venv .venv && ")
    assert "search.run --study quickstart --n-trials 8" in first
    assert second.rstrip().endswith(".venv/bin/python -m pytest")


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-1] == blocks()[1].strip()


def test_every_study_is_in_the_readme_with_its_question() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+\?) \| \d+ \|$", README, flags=re.MULTILINE))
    assert rows == {name: load_study_file(name).question for name in known_studies()}


def test_every_study_file_says_how_many_trials_the_readme_does() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .+\? \| (\d+) \|$", README, flags=re.MULTILINE))
    for name in known_studies():
        assert f"python -m search.run --study {name} --n-trials {rows[name]}\n" in (STUDIES / f"{name}.py").read_text()


def test_every_knob_is_in_the_readme_with_its_meaning() -> None:
    table = README.partition("| knob | default | meaning |")[2].splitlines()
    for name, knob in TrainConfig.model_fields.items():
        row = next(line for line in table if line.startswith(f"| `{name}` |"))
        assert knob.description is not None
        assert row.endswith(f"| {' '.join(knob.description.split())} |")


def test_every_augmentation_is_in_the_readme_with_its_strength() -> None:
    for name in AUGMENTATIONS:
        assert f"- `{name}`: {DESCRIPTIONS[name]}\n" in README


def test_the_readmes_own_study_loads(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(blocks("python")[0])
    assert load_study_file(str(tmp_path / "mine.py")).question == "Does label smoothing help?"


def test_the_file_tree_of_the_readme_matches_the_disk() -> None:
    tree = next(block for block in blocks() if block.startswith("maskcls/"))
    named = {line.split()[0] for line in tree.splitlines()} - {"runs/"}
    assert all((ROOT / name).is_dir() for name in named)
    folders = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert folders - {"runs/", "build/"} <= named | {name for name in folders if name.endswith(".egg-info/")}
