"""What the tests of the commands share; named so that pytest does not collect it."""

import importlib

import typer


def option_names(module: str) -> set[str]:
    """Every option of ``python -m module``."""
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(module).main)
    return {name for parameter in typer.main.get_command(app).params for name in parameter.opts}
