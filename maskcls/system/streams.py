"""The standard streams, one or all of which whoever started the program may have closed (daemons, cron, ``2>&-``)."""

import os
import sys
from typing import Any

STREAMS = {"stdin": (0, "r"), "stdout": (1, "w"), "stderr": (2, "w")}


def mend() -> None:
    """Put the null device in the place of every standard stream that is closed.

    Else Python has None for it, and the next file or pipe that is opened gets its number: what a library then writes
    to the standard error ends up there.
    """
    for name, (descriptor, mode) in STREAMS.items():
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - it stays open


def is_terminal(stream: Any) -> bool:
    """Whether a person is at the other end of a standard stream; not when it is closed."""
    try:
        return stream is not None and bool(stream.isatty())
    except (OSError, ValueError):
        return False
