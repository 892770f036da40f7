"""The standard streams, which daemons, cron or ``2>&-`` may have closed."""

import os
import sys
from typing import Any


def open_closed_streams() -> None:
    """Open the null device in the place of every standard stream that is closed.

    Otherwise Python has None for it, and the next file or pipe gets its descriptor: what a library writes to standard
    error would end up there.
    """
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - it stays open


def is_terminal(stream: Any) -> bool:
    """Whether the stream is open and is a terminal."""
    try:
        return stream is not None and bool(stream.isatty())
    except (OSError, ValueError):
        return False
