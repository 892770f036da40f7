"""One training a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskcls.system.errors import UserError

LOCK = ".training"
"""A file of the folder that a training holds, and that goes with it; of one that was killed it stays, unheld."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have the folder, made where there is none, to oneself; raises UserError while another training has it.

    A folder that was made and that nothing was written into goes again.
    """
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if not was_there:
            with suppress(OSError):  # it holds a run
                folder.rmdir()


def _take(path: Path) -> int:
    """The descriptor of the held file; opened for writing, which locks on network file systems ask for."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(f"Another training writes into {path.parent}. Let it end, or choose another -o.") from None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder ended, and removed it, between our opening it and holding it


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
