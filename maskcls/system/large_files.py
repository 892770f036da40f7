"""Large files made under a name of their own, readable by those who may see the photos, and put in place whole."""

import contextlib
import fcntl
import os
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PART = ".part"

SURELY_LOCKED_SECONDS = 60.0
"""After its making a draft is locked, also as another machine on a network file system sees it."""


class Draft:
    """An empty file beside ``target``, ours alone until ``put_in_place``; gone at the end of the block unless put.

    Its name is no other process's on any machine, and it is locked as long as it is being made.
    """

    def __init__(self, target: Path, mode: int) -> None:
        """``mode``: its permissions, before the umask takes its own."""
        self.target = target
        self.path = target.with_name(f"{target.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}{PART}")
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        with contextlib.suppress(OSError):  # a file system without locks: then nobody sweeps there either
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def put_in_place(self) -> None:
        """Readers see the old file or this one."""
        self.path.replace(self.target)

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def sweep(folder: Path) -> None:
    """Remove the drafts that processes left behind which were killed. To be called holding the folder."""
    this_machine = f".{socket.gethostname()}."
    for path in folder.glob(f"*{PART}"):
        with contextlib.suppress(OSError):  # another machine's sweeper was first, or one may not
            is_settled = this_machine in path.name or time.time() - path.stat().st_mtime > SURELY_LOCKED_SECONDS
            if is_settled and not _is_locked(path):
                path.unlink()


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def photo_mode(folder: Path, paths: Sequence[str]) -> int:
    """Permissions of files that show the photos: none for a group or for others who cannot get to the first photo."""
    mode, photo = 0o666, (folder / paths[0]).resolve() if paths else folder.resolve()
    # what a group and others need: to read the photo, and to pass every folder above it
    needs = [(photo.stat().st_mode, 0o040, 0o004), *((above.stat().st_mode, 0o010, 0o001) for above in photo.parents)]
    for permissions, group, others in needs:
        mode &= ~(0 if permissions & group else 0o060) & ~(0 if permissions & others else 0o006)
    return mode
