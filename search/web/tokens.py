"""The token that a browser has to know: typed, in a variable, in a file, or made."""

import os
import secrets
from pathlib import Path

from maskcls.system.errors import UserError, one_line

MIN_TOKEN = 12
"""Characters of a token: whoever reaches the port may try as many as there is time for."""

TOKEN_VARIABLE = "MASKCLS_TOKEN"


def choose_token(given: str | None, file: Path | None, no_token: bool) -> str | None:
    """The token to ask for; None for none. ``given``: by --token or by the variable; ``file``: its first line.

    Raises UserError for one that is too short, for two, and for a file that cannot be read.
    """
    is_typed = given is not None and given != os.environ.get(TOKEN_VARIABLE)
    if sum((is_typed, file is not None, no_token)) > 1:
        raise UserError("--token, --token-file and --no-token exclude each other; give one of them.")
    if no_token:
        return None
    where = "--token" if is_typed else TOKEN_VARIABLE
    if file is not None:
        given, where = _first_line(file), f"--token-file {file}"
    if given is None:
        return secrets.token_urlsafe()
    if len(given.strip()) < MIN_TOKEN:
        raise UserError(
            f"The token of {where} has {len(given.strip())} characters, which is soon guessed; give at least"
            f" {MIN_TOKEN}, or none to have one made."
        )
    return given


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The token file {file} cannot be read: {one_line(error)}.") from error
    return lines[0].strip() if lines else ""
