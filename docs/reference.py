"""Prints reference.md, from the code: every option of every command, every hyperparameter, every augmentation.

python docs/reference.py > docs/reference.md
"""

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, wherever the command is typed

from maskcls.config import TrainConfig
from maskcls.data.augment import AUGMENTATIONS, DESCRIPTIONS

COMMANDS = (
    *("search.run", "search.status", "search.dashboard", "search.report", "search.confirm", "search.compare"),
    *("search.export", "search.ensemble", "search.soup", "search.compose", "search.serve", "search.copy"),
    *("search.delete",),
    *("maskcls.train", "maskcls.evaluate", "maskcls.predict"),
)
"""In the order in which one meets them."""


def parameters_of(command: str) -> list[Any]:
    """The arguments and options of a command, as click knows them."""
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(command).main)
    return [found for found in typer.main.get_command(app).params if found.name != "help"]


def reference() -> str:
    """The page, as Markdown."""
    return "\n".join([*_head(), *(line for command in COMMANDS for line in _command(command)), *_rest()]) + "\n"


def _head() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Made by `python docs/reference.py > docs/reference.md` from the code; a test compares the two."
    yield "Every command also has `--help`. An option with an environment variable takes its value from it when"
    yield "it is not given. Bad input ends a command with one line and exit status 2, Ctrl-C with 130."


def _command(command: str) -> Iterator[str]:
    summary = inspect.getdoc(importlib.import_module(command).main) or ""
    yield f'\n<a id="{command}"></a>'
    yield f"\n## python -m {command}"
    yield f"\n{summary}"
    yield "\n| option | default | meaning |"
    yield "|---|---|---|"
    for found in parameters_of(command):
        names = found.metavar if found.param_type_name == "argument" else ", ".join(found.opts)
        variable = f" Environment: `{found.envvar}`." if found.envvar else ""
        yield f"| `{names}` | {_default(found)} | {_cell(found.help or '')}{variable} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False:
        return ""
    return f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _rest() -> Iterator[str]:
    yield "\n## Hyperparameters"
    yield "\nThe fields of `maskcls/config.py`: what a study may search or fix, `--set` takes, and a config file holds."
    yield "\n| hyperparameter | default | values | meaning |"
    yield "|---|---|---|---|"
    for name, field in TrainConfig.model_fields.items():
        yield f"| `{name}` | {_value(field.default)} | {_values(field)} | {_cell(field.description or '')} |"
    yield "\n## Augmentations"
    yield "\nOf training batches, applied in this order. Each photo gets a draw of its own."
    yield ""
    yield from (f"- `{name}`: {DESCRIPTIONS[name]}" for name in AUGMENTATIONS)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        same = len(set(value)) == 1
        return str(value[0]) if same else ", ".join(map(str, value))
    return str(value)


def _values(field: Any) -> str:
    """What a field may be: its words, or its bounds."""
    words = get_args(field.annotation)
    if words and all(isinstance(word, str) for word in words):
        return ", ".join(words)
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{words} {getattr(rule, name)}"
        for rule in field.metadata
        for name, words in signs.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join(bounds)


if __name__ == "__main__":
    sys.stdout.write(reference())
