"""What every command shares: one line and exit status 2 for bad input, 130 after Ctrl-C, --help without torch."""

import atexit
import errno
import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import typer

from maskcls.system.errors import OutsideError, UserError
from maskcls.system.paths import with_paths
from maskcls.system.printable import encoding_of, printable
from maskcls.system.redact import guard_tracebacks, redacted, redacted_words
from maskcls.system.streams import mend

NOBODY_READS = (errno.EPIPE, errno.EIO)
"""Of a pipe whose reader is gone, and of a terminal that was closed."""

PACKAGES = ("maskcls", "search")
"""Whose log is shown; libraries have handlers of their own, or are silent."""

_unsaid: list[OSError] = []
"""Why a line could not be written, for another reason."""


def run_command(command: Callable[..., Any]) -> NoReturn:
    """Run ``command`` as a Typer program and end the process with its exit status (an int it returns, or 0)."""
    mend()
    # A thread that waits by spinning keeps the core from whoever has work: trainings that share cores run 20
    # times slower that way (benchmarks/waiting.py). OpenMP reads it when torch is loaded, later than this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # numpy's products here are small: on busy cores its threads take five times as long as one
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # else the interpreter's end looks for garbage among all that was loaded, for up to 1.3 s with torch
    atexit.register(gc.freeze)
    guard_tracebacks()
    log_to_console()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(with_paths(command))
    _unsaid.clear()
    try:
        _check_no_value_is_empty(sys.argv[1:])
        status = app(standalone_mode=False)
    except UserError as error:
        fail(str(error))
    except OutsideError as error:
        fail(str(error), status=1)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"The system refused: {error.strerror or error}{where}.")
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Typer's own for a wrong option; their base class has moved from version to version
        if not hasattr(error, "format_message"):
            guard_tracebacks()  # Typer has put its own in their place, which shows all
            raise
        fail(redacted_words(" ".join(error.format_message().split())))
    if _unsaid:
        fail(f"The output could not be written: {_unsaid[0].strerror}.", status=1)
    sys.exit(status if isinstance(status, int) else 0)


def _check_no_value_is_empty(words: Sequence[str]) -> None:
    """Raise UserError for an empty word, mostly a shell's variable that is not set: a path of it is this folder."""
    before = ""
    for word in words:
        if not word or (word.startswith("--") and word.partition("=")[1:] == ("=", "")):
            what = (word or before).rstrip("=") or "an argument"
            raise UserError(f"The value of {what} is empty; give one, or leave it out.")
        before = word


def fail(message: str, status: int = 2) -> NoReturn:
    """Say what is wrong on stderr, in one line, and exit: with 2 for bad input, with 1 for what went away."""
    line = printable(" ".join(redacted(message).split()), encoding_of(sys.stderr))
    print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


class _LineHandler(logging.Handler):
    """Hands every message to a function that prints a line."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        super().__init__()
        self.print_line = print_line

    def emit(self, record: logging.LogRecord) -> None:
        self.print_line(record.getMessage())


def log_to_console() -> None:
    """From now on what our modules log is printed: information as ``say`` does, warnings as ``warn`` does.

    A handler for each stream, since a handler has a lock: a reader of stdout that stands still holds no warning up.
    """
    information, warnings = _LineHandler(say), _LineHandler(warn)
    information.addFilter(lambda record: record.levelno < logging.WARNING)
    warnings.setLevel(logging.WARNING)
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [information, warnings]
        logger.setLevel(logging.INFO)
        logger.propagate = False  # a handler that a library gives the root would print all of it again


def say(message: str = "") -> None:
    """One line to stdout, at once: what is read through a pipe must not lag behind the work.

    Nothing in it acts upon a terminal: names, questions and errors come out of databases that others write into.
    Nobody reading any more (a closed terminal, ``| head``) is no reason to lose the work: from then on it is silent.
    Nor is a full disk, but then the command says so at its end, and its exit status is 1.
    """
    try:
        print(printable(message, encoding_of(sys.stdout)), flush=True)
    except OSError as error:
        if error.errno not in NOBODY_READS:
            _unsaid.append(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it again at its end


def warn(message: str) -> None:
    """One line to stderr, at once: stdout may be a document for scripts. Nobody listening is no reason to end."""
    with suppress(OSError, ValueError, AttributeError):
        print(redacted(message), file=sys.stderr, flush=True)
