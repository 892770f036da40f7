"""How every command runs, prints and ends: one line and exit status 2 for bad input, exit status 130 after Ctrl-C."""

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
from maskcls.system.streams import open_closed_streams

PACKAGES = ("maskcls", "search")
"""Packages whose log is printed; libraries have their own handlers, or stay silent."""

_output_errors: list[OSError] = []
"""Why lines could not be written to stdout although it has a reader."""


def run_command(command: Callable[..., Any]) -> NoReturn:
    """Run ``command`` as a Typer program and end the process with its exit status (an int it returns, or 0)."""
    open_closed_streams()
    quiet_threads()
    # without this, the interpreter searches all loaded modules for garbage at its end: up to 1.3 s with torch
    atexit.register(gc.freeze)
    guard_tracebacks()
    log_to_console()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(with_paths(command))
    _output_errors.clear()
    try:
        _check_no_argument_is_empty(sys.argv[1:])
        status = app(standalone_mode=False)
    except UserError as error:
        fail(str(error))
    except OutsideError as error:
        fail(str(error), status=1)
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        fail(f"The system refused: {error.strerror or error}{file}.")
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Typer's errors for wrong options have this method; their base class differs between versions
        if not hasattr(error, "format_message"):
            guard_tracebacks()  # Typer has replaced the hook by its own, which masks nothing
            raise
        fail(redacted_words(" ".join(error.format_message().split())))
    if _output_errors:
        fail(f"The output could not be written: {_output_errors[0].strerror}.", status=1)
    sys.exit(status if isinstance(status, int) else 0)


def quiet_threads() -> None:
    """Keep idle threads from cores that others need, here and in child processes; before torch is loaded."""
    # A thread that waits by spinning keeps a core from threads with work: trainings that share cores run 20
    # times slower that way (benchmarks/waiting.py). OpenMP reads the variable when torch is loaded, after this.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # numpy's products are small here: on busy cores, several threads take five times as long as one
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _check_no_argument_is_empty(arguments: Sequence[str]) -> None:
    """Raise UserError for an empty value, mostly of an unset shell variable: as a path it would be this folder."""
    previous = ""
    for argument in arguments:
        if not argument or (argument.startswith("--") and argument.partition("=")[1:] == ("=", "")):
            option = (argument or previous).rstrip("=") or "an argument"
            raise UserError(f"The value of {option} is empty; give one, or leave it out.")
        previous = argument


def fail(message: str, status: int = 2) -> NoReturn:
    """Print the error on one line of stderr and exit: status 2 is for bad input, 1 for failures outside the program."""
    line = printable(" ".join(redacted(message).split()), encoding_of(sys.stderr))
    print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


class _LineHandler(logging.Handler):
    """A log handler that passes every message to a function."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        super().__init__()
        self.print_line = print_line

    def emit(self, record: logging.LogRecord) -> None:
        self.print_line(record.getMessage())


def log_to_console() -> None:
    """From now on, print what our modules log: information by ``say``, warnings by ``warn``.

    Each has a handler of its own, as a handler has a lock: a stalled reader of stdout must not hold up warnings.
    """
    information, warnings = _LineHandler(say), _LineHandler(warn)
    information.addFilter(lambda record: record.levelno < logging.WARNING)
    warnings.setLevel(logging.WARNING)
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [information, warnings]
        logger.setLevel(logging.INFO)
        logger.propagate = False  # a handler that a library adds to the root logger would print it twice


def say(message: str = "") -> None:
    """Print a line to stdout at once, so that the reader of a pipe does not lag behind the work.

    Control characters are escaped: names, questions and errors come from databases that others write into.
    The work continues without output when the reader is gone (a closed terminal, ``| head``) or the disk is full; in
    the second case the command ends with an error line and exit status 1.
    """
    try:
        print(printable(message, encoding_of(sys.stdout)), flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe without a reader, of a closed terminal
            _output_errors.append(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it again at its end


def warn(message: str) -> None:
    """Print a line to stderr at once, since stdout may be a document for scripts; errors of writing it are ignored."""
    with suppress(OSError, ValueError, AttributeError):
        print(redacted(message), file=sys.stderr, flush=True)
