"""Large files, written under temporary names, put in place whole, and readable by those who may see the photos."""

import contextlib
import fcntl
import os
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from maskcls.system.lock import is_locked

PART = ".part"

SETTLED_SECONDS = 60.0
"""Age from which the lock of another machine's draft is sure to be visible here, on a network file system."""


class Draft:
    """An empty file beside ``target``, removed at the end of the block unless ``put_in_place`` was called.

    No process on any machine gives another the same name. It is locked as long as the block runs.
    """

    def __init__(self, target: Path, mode: int) -> None:
        """``mode``: permissions of the file, which the umask may reduce."""
        self.target = target
        self.path = target.with_name(f"{target.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}{PART}")
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        with contextlib.suppress(OSError):  # a file system without locks, where none is removed as stale either
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def put_in_place(self) -> None:
        """Replace ``target`` by this file: readers see the old one or the new."""
        self.path.replace(self.target)

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def remove_stale_drafts(folder: Path) -> None:
    """Remove drafts of processes that were killed. Call it while holding the folder's lock (lock.hold)."""
    this_machine = f".{socket.gethostname()}."
    for path in folder.glob(f"*{PART}"):
        with contextlib.suppress(OSError):  # another machine removed it first, or this user must not
            is_settled = this_machine in path.name or time.time() - path.stat().st_mtime > SETTLED_SECONDS
            if is_settled and not is_locked(path):
                path.unlink()


def photo_mode(folder: Path, paths: Sequence[str]) -> int:
    """Mode of files that show the photos: no access for the group or for others if they cannot read the first photo."""
    mode, photo = 0o666, (folder / paths[0]).resolve() if paths else folder.resolve()
    # the permissions that they need: to read the photo, and to pass every folder above it
    needs = [(photo.stat().st_mode, 0o040, 0o004), *((above.stat().st_mode, 0o010, 0o001) for above in photo.parents)]
    for permissions, group, others in needs:
        mode &= ~(0 if permissions & group else 0o060) & ~(0 if permissions & others else 0o006)
    return mode
