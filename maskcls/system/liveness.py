"""A counter of completed pieces of work, from which a heartbeat tells a working process from one that hangs.

That a process exists, or that a thread of it answers, proves nothing: its training may hang. So long work calls
``beat`` after each small piece, such as a forward pass or a decoded photo.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_count = 0


def beat() -> None:
    """Count one more piece of work."""
    global _count
    _count += 1


def beats() -> int:
    """Pieces of work since the process began."""
    return _count


@contextmanager
def beating(every: float = 1.0) -> Iterator[None]:
    """Count a piece of work every so many seconds during a wait that has a time limit of its own."""
    is_over = threading.Event()

    def count() -> None:
        while not is_over.wait(every):
            beat()

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
