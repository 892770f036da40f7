"""Signal handlers that leave alone what was ignored before the program began.

``nohup`` ignores SIGHUP and a shell the SIGINT of its background jobs, and their user means it.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_NOW = signal.SIGUSR1
"""Tells a worker to stop without finishing its evaluation. SIGINT may be ignored in a worker, by inheritance."""

SHOW_STACK = signal.SIGUSR2
"""Tells a hung worker to write its stack to its log."""

Handler = Callable[[int, FrameType | None], Any]


def handle(number: int, handler: Handler) -> bool:
    """Install ``handler`` unless the signal is ignored; returns whether it was installed."""
    if signal.getsignal(number) == signal.SIG_IGN:
        return False
    signal.signal(number, handler)
    return True


@contextmanager
def handled(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """Install ``handler`` for several signals while the context lasts."""
    previous = {number: signal.getsignal(number) for number in numbers}
    installed = [number for number in previous if handle(number, handler)]
    try:
        yield
    finally:
        for number in installed:
            signal.signal(number, previous[number])
