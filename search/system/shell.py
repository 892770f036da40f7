"""Words and options of printed commands, quoted so that a shell reads back any name of a folder or study."""

import os
import shlex
from pathlib import Path

from maskcls.system.options import CACHE_VARIABLE
from maskcls.system.paths import expand_home
from search.system.storage_url import STORAGE_VARIABLE, password_hint, url_to_type


def quoted(word: object) -> str:
    """The word, quoted for a shell; a control character is written as its bytes (bash, zsh, ksh)."""
    text = str(word)
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character.isprintable():
        return f"\\{character}" if character in "\\'" else character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def runs_option(runs: Path) -> str:
    """The --runs option of a printed command; empty for the default folder."""
    return f" --runs {quoted(runs)}" if runs != Path("runs") else ""


def cache_option(cache: Path | None, runs: Path) -> str:
    """The --cache option of a printed command that reads photos; empty where that takes the same folder without."""
    default = os.environ.get(CACHE_VARIABLE)
    unasked = Path(expand_home(default)) if default else runs / "cache"
    return "" if cache is None or cache == unasked else f" --cache {quoted(cache)}"


def storage_option(url: str | None) -> tuple[str, str]:
    """(the --storage option of a printed command, a hint about its password); empty where none is needed."""
    if not url or url == os.environ.get(STORAGE_VARIABLE):
        return "", ""
    typed, had_secrets = url_to_type(url)
    return f" --storage {quoted(typed)}", password_hint(url) if had_secrets else ""


def place_options(runs: Path, storage_url: str | None) -> str:
    """The --runs and --storage options of a printed command; empty for the defaults."""
    return runs_option(runs) + storage_option(storage_url)[0]
