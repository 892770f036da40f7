"""Options of the commands that serve the dashboard. --help imports this module: it must import nothing heavy."""

from pathlib import Path
from typing import Annotated

import typer

from search.web.tokens import MIN_TOKEN, TOKEN_VARIABLE

LOOPBACK = "127.0.0.1"
"""This machine only, but all of its users reach it. Whoever is let in can change the studies."""

TokenOption = Annotated[
    str | None,
    typer.Option(
        envvar=TOKEN_VARIABLE,
        help=f"Secret to open the dashboard with, at least {MIN_TOKEN} characters. Default: a new one each time.",
    ),
]

TokenFileOption = Annotated[Path | None, typer.Option(help="File whose first line is the token.")]

AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(help="Another host name under which browsers reach this machine, as by a proxy. Repeatable."),
]
