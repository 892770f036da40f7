"""The direction of imports: a room imports from the rooms before it, never from those after it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = (
    *("maskcls.system", "maskcls.labels", "maskcls.config", "maskcls.tasks", "maskcls.scoring", "maskcls.images"),
    *("maskcls.reading", "maskcls.augment", "maskcls.data", "maskcls.run", "maskcls.model", "maskcls.training"),
    "maskcls",
    *("search.system", "search.database", "search.study", "search.policy", "search.files", "search.storage"),
    *(
        "search.team",
        "search.answer",
        "search.findings",
        "search.terminal",
        "search.page",
        "search.worker",
        "search.gpus",
        "search.supervisor",
        "search.engines",
    ),
    *("search.web", "search.postgres", "search"),
)
"""In the order of the path of a trial. A package's own name stands for its commands, which come last."""

MAX_MODULES = 16
"""In a folder: as many as one takes in at a glance."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in ("maskcls", "search")
    for path in sorted((ROOT / package).rglob("*.py"))
}
NAMES = [name for name in MODULES if not name.endswith("__init__")]


def room_of(module: str) -> str:
    """The longest name in ROOMS that the module's begins with."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def imports(source: str) -> Iterator[tuple[str, int]]:
    """(module, line) of everything of ours that a source imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else str(node.module) for name in inside]
        else:
            continue
        yield from ((name, node.lineno) for name in dict.fromkeys(found) if name.split(".")[0] in ("maskcls", "search"))


def backward(module: str, source: str) -> list[str]:
    """A sentence for every import that goes against the direction."""
    here, said = room_of(module), []
    for name, line in imports(source):
        there = room_of(name)
        if ROOMS.index(there) > ROOMS.index(here):
            said.append(
                f"{module.replace('.', '/')}.py:{line} imports {name}, but {here} stands before {there}. "
                f"Move what it needs to {here} or a room before it, or move this module to {there} or a room after it."
            )
        elif here == there and here in ("maskcls", "search") and name != module:
            said.append(
                f"{module.replace('.', '/')}.py:{line} imports the command {name}. Move what both need to a room."
            )
    return said


@pytest.mark.parametrize("module", NAMES)
def test_a_module_imports_only_from_its_room_and_those_before_it(module: str) -> None:
    said = backward(module, MODULES[module].read_text(encoding="utf-8"))
    assert not said, "\n".join(said)


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        (
            "search.findings.notes",
            "from search.terminal.tables import show_table",
            "search/findings/notes.py:1 imports",
        ),
        (
            "search.study.space",
            "def late():\n    import search.policy.policy",
            "search.study stands before search.policy",
        ),
        ("maskcls.data.cache", "from maskcls.model import losses", "imports maskcls.model.losses"),
        ("maskcls.system.files", "from maskcls import config", "imports maskcls.config"),
        (
            "maskcls.training.loop",
            "from search.study.study import Study",
            "maskcls.training stands before search.study",
        ),
        ("search.page.data", "from search import report", "imports search.report"),
        ("search.report", "import search.run", "imports the command search.run"),
    ],
)
def test_a_planted_backward_import_is_told_with_where_the_thing_belongs(module: str, source: str, words: str) -> None:
    (said,) = backward(module, source)
    assert words in said


def test_no_module_needs_itself() -> None:
    """Not even by imports inside functions: static_order raises CycleError, which names the circle."""
    needs = {name: {found for found, _ in imports(path.read_text())} - {name} for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(needs).static_order())) >= len(MODULES)


def test_every_folder_is_a_room_and_small_enough_to_take_in() -> None:
    rooms = {room.replace(".", "/") for room in ROOMS}
    for folder in ("maskcls", "search", "tests"):
        for path in [ROOT / folder, *(ROOT / folder).rglob("*/")]:
            modules = [file for file in path.glob("*.py") if file.stem != "__init__"]
            name = path.relative_to(ROOT).as_posix()
            assert len(modules) <= MAX_MODULES, f"{name}/ holds {len(modules)} modules: give some of them a room."
            if modules and folder != "tests":
                assert name in rooms, f"{name}/ is not in ROOMS: say where on the path it stands."
