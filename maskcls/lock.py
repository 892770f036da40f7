"""One process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Wait until nobody else holds the folder, and hold it.

    The lock is the folder's own (flock): it leaves no file behind, and the kernel lets go of it when its holder dies.
    Not to be nested for one folder: a process waits for itself too.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def share(folder: Path) -> None:
    """Hold the folder until this process ends, together with others who share it."""
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)


def is_held(folder: Path) -> bool:
    """Whether anybody holds the folder, alone or together."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
