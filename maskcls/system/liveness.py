"""A count that every piece of work moves on: who looks at it twice sees whether this process gets anywhere.

A process that exists, and even a thread of it that answers, proves nothing: its training may hang. So what takes long
calls ``beat`` after each small piece: a forward pass, a photo decoded.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_count = 0


def beat() -> None:
    """One more piece of work is done."""
    global _count
    _count += 1


def beats() -> int:
    """Pieces of work since the process began."""
    return _count


@contextmanager
def beating(every: float = 1.0) -> Iterator[None]:
    """Beat every so many seconds while something is waited for that has a time limit of its own."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every):
            beat()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
