"""Signals, and which of them are for us.

What was set to be ignored before the program began stays so. ``nohup`` does that with SIGHUP, a shell with the SIGINT
of what it starts in the background, and whoever typed it means it.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AT_ONCE = signal.SIGUSR1
"""The supervisor's word to a worker: stop now. Not SIGINT, which a worker may have inherited as ignored."""

SHOW_STACK = signal.SIGUSR2
"""The supervisor's word to a worker that hangs: write down where."""

Handler = Callable[[int, FrameType | None], Any]


def handle(number: int, handler: Handler) -> bool:
    """Have ``handler`` called, unless the signal is ignored; returns whether it will be."""
    if signal.getsignal(number) == signal.SIG_IGN:
        return False
    signal.signal(number, handler)
    return True


@contextmanager
def handled(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """The same for several signals and for a while."""
    before = {number: signal.getsignal(number) for number in numbers}
    ours = [number for number in before if handle(number, handler)]
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
