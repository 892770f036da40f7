"""A lock that lets one training at a time write into a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskcls.system.errors import UserError

LOCK = ".training"
"""The locked file in the folder, removed at the end; a killed training leaves it behind, unlocked."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder, creating it if necessary. Raises UserError while another training holds it.

    A folder created here is removed again if it stays empty.
    """
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if not existed:
            with suppress(OSError):  # not empty: it holds a run
                folder.rmdir()


def _lock(path: Path) -> int:
    """The descriptor of the locked file; open for writing, which NFS requires of a locked file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(f"Another training writes into {path.parent}. Wait for it, or choose another -o.") from None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # the holder removed the file after we had opened it


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
