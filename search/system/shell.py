"""Commands that are printed to be typed: whatever a folder or a study is named, a shell reads back that name."""

import os
import shlex
from pathlib import Path

from search.system.storage_url import HINT, VARIABLE, url_to_type


def quoted(word: object) -> str:
    """For a shell. What a terminal would act on, such as an escape, is written as its bytes (bash, zsh, ksh)."""
    text = str(word)
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return f"\\{letter}" if letter in "\\'" else letter
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def runs_words(runs: Path) -> str:
    """Where the studies are; nothing where that is so by default."""
    return f" --runs {quoted(runs)}" if runs != Path("runs") else ""


def storage_words(url: str | None) -> tuple[str, str]:
    """(the option for a command that is printed, what to say of it): both empty where nothing has to be typed."""
    if not url or url == os.environ.get(VARIABLE):
        return "", ""
    typed, had_secrets = url_to_type(url)
    return f" --storage {quoted(typed)}", HINT if had_secrets else ""


def place_words(runs: Path, storage_url: str | None) -> str:
    """What a command needs to be told besides the study: nothing where everything is as by default."""
    return runs_words(runs) + storage_words(storage_url)[0]
