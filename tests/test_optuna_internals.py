"""Optuna's private names stand in search.database.optuna_internals, where an upgrade that drops one is seen at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {"optuna_internals.py", "reconnecting.py", "rows.py"}
"""In search/database. The second overrides methods of Optuna's storage, so it has to have their names, and the third
stores and reads its tables."""

PUBLIC = {"_replace", "_asdict", "_fields", "_exit"}
"""Names of the standard library (namedtuple, os) that are private by their spelling only."""


def private_names(source: str) -> Iterator[tuple[str, int]]:
    """(name, line) of what a source uses of another object's or of Optuna's modules; ``self._x`` is one's own."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            names = [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            names = [str(word.value) for word in node.args[1:2] if isinstance(word, ast.Constant)]
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "optuna":
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names if alias.name.startswith("optuna.") for part in alias.name.split(".")]
        yield from (
            (name, getattr(node, "lineno", 0))
            for name in names
            if name.startswith("_") and not name.startswith("__") and name not in PUBLIC
        )


@pytest.mark.parametrize("path", sorted((ROOT / "search").rglob("*.py")), ids=lambda path: path.stem)
def test_no_other_module_has_a_private_name_of_optuna(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    found = list(private_names(path.read_text(encoding="utf-8")))
    if path.parent.name == "database" and path.name in ALLOWED:
        assert found, f"{name} has none any more: take it out of ALLOWED."
        return
    said = [f"{name}:{line} says {private}; put it behind a function of optuna_internals" for private, line in found]
    assert not said, "\n".join(said)


@pytest.mark.parametrize(
    "source",
    [
        "study._storage.get_trial(3)",
        "getattr(storage, '_backend', storage)",
        "from optuna.storages._rdb import models",
        "from optuna.storages import _CachedStorage",
        "import optuna.study._frozen",
    ],
)
def test_a_planted_private_name_is_found(source: str) -> None:
    assert list(private_names(source))


def test_what_is_ones_own_is_not() -> None:
    assert not list(private_names("self._turn.on = os._exit(url._replace(password=None).__len__())"))
