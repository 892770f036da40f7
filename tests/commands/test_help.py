"""--help of every command: within a second of CPU time, without what takes longer."""

import functools
import resource
import subprocess
import sys
from dataclasses import dataclass

import pytest

from docs.reference import COMMANDS

HEAVY = (
    *("torch", "timm", "torchvision", "sklearn", "optuna", "optuna_dashboard", "pandas", "matplotlib", "sqlalchemy"),
    *("jinja2", "plotly"),
)

REPORT = """
import atexit, runpy, sys
atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
sys.argv = [sys.argv[1], "--help"]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Helped:
    """How a command has shown its help."""

    status: int
    text: str
    modules: frozenset[str]
    """All that were imported."""
    seconds: float
    """Of CPU time."""


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ask_for_help(command: str) -> Helped:
    before = children_seconds()
    ended = subprocess.run([sys.executable, "-c", REPORT, command], capture_output=True, text=True, check=False)
    seconds = children_seconds() - before
    return Helped(ended.returncode, ended.stdout, frozenset(ended.stderr.split()), seconds)


first_help = functools.cache(ask_for_help)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_takes_less_than_a_second(command: str) -> None:
    spent = []
    for ask in (first_help, ask_for_help, ask_for_help):  # the best of three: the machine may be busy
        helped = ask(command)
        spent.append(helped.seconds)
        assert helped.status == 0
        assert "Usage" in helped.text
        if spent[-1] < 1:
            break
    assert min(spent) < 1, spent


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    helped = first_help(command)
    assert "typer" in helped.modules
    assert helped.modules & set(HEAVY) == set()
