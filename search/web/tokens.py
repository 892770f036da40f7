"""The dashboard's token: from an option, the environment or a file, or a generated one."""

import os
import secrets
from pathlib import Path

from maskcls.system.errors import UserError, one_line

MIN_TOKEN = 12
"""Fewest characters of a token: whoever reaches the port may guess as often as time allows."""

TOKEN_VARIABLE = "MASKCLS_TOKEN"


def choose_token(given: str | None, file: Path | None, no_token: bool) -> str | None:
    """The dashboard's token, or None with --no-token.

    ``given`` is from --token or the environment; the first line of ``file`` replaces it. Raises UserError for a token
    that is too short, for more than one source, and for a file that cannot be read.
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
            f"The token from {where} has {len(given.strip())} characters, which is easy to guess; use at least"
            f" {MIN_TOKEN}, or none to have one generated."
        )
    return given


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The token file {file} cannot be read: {one_line(error)}.") from error
    return lines[0].strip() if lines else ""
