"""One process at a time.

The lock is a file of its own beside what it guards: nobody takes it by accident, as ``flock runs ...`` takes the
folder. It is opened for writing, since only then does it hold between machines on NFS, whose client turns flock into
a lock of the server's on files open for writing (man 2 flock). The kernel lets go of it when its holder dies; the file
stays, as removing it would let two hold two files of one name.
"""

import errno
import fcntl
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskcls.system.errors import UserError
from maskcls.system.liveness import beat

logger = logging.getLogger(__name__)

FILE = ".lock"
"""Guards the folder that it lies in."""

QUIET_SECONDS = 5
"""A wait that takes longer is logged."""

STUCK_SECONDS = 600
"""One and the same process that holds a lock for so long is stuck: what is decided under a lock takes seconds."""

POLL_SECONDS = (0.002, 0.1)
"""The first and the longest pause between two looks at a lock."""

BUSY = (errno.EAGAIN, errno.EACCES)
"""What flock says of a lock that another has."""


class StuckError(UserError):
    """One process does not let go of a lock."""


class Wait:
    """A wait for a lock, which is logged once, and ends when one holder does not let go."""

    def __init__(self, what: str, limit: float | None = STUCK_SECONDS) -> None:
        """``what`` is locked, in words. ``limit``: seconds that one holder may have it; None: as long as it takes."""
        self.what, self.limit = what, limit
        self.began = self.changed = time.monotonic()
        self.holder, self.is_logged = "", False

    def goes_on(self, holder: str) -> None:
        """To be called again and again while ``holder`` has it. Raises StuckError when it has had it for too long."""
        if threading.current_thread() is threading.main_thread():
            beat()  # this process waits; it does not hang
        now = time.monotonic()
        if holder != self.holder:
            self.holder, self.changed = holder, now
        if not self.is_logged and now - self.began >= QUIET_SECONDS:
            self.is_logged = True
            logger.warning(f"waiting for {self.what}: held by {holder}")
        if self.limit is not None and now - self.changed >= self.limit:
            raise StuckError(
                f"{self.what} has been held by {holder} for {self.limit / 60:.0f} minutes; end that process, and give"
                " the same command again."
            )


@contextmanager
def hold(folder: Path, limit: float | None = None) -> Iterator[None]:
    """Wait until nobody else holds the folder, and hold it. See hold_file."""
    with hold_file(folder / FILE, str(folder), limit):
        yield


@contextmanager
def hold_file(file: Path, what: str, limit: float | None = STUCK_SECONDS) -> Iterator[None]:
    """Wait until nobody else holds the lock file of ``what``, and hold it.

    Not to be nested for one file: a process waits for itself too. Raises StuckError when the same process has held it
    for ``limit`` seconds.
    """
    descriptor = _open(file)
    try:
        wait, pause = Wait(what, limit), POLL_SECONDS[0]
        while not _is_mine(descriptor, fcntl.LOCK_EX):
            wait.goes_on(_holder(descriptor))
            time.sleep(pause)
            pause = min(1.5 * pause, POLL_SECONDS[1])
        _sign(descriptor, f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')}")
        yield
        _sign(descriptor, "")
    finally:
        os.close(descriptor)


def share_folder(folder: Path) -> None:
    """Hold the folder until this process ends, together with others who share it."""
    fcntl.flock(_open(folder / FILE), fcntl.LOCK_SH)


def is_held(folder: Path) -> bool:
    """Whether anybody holds the folder, alone or together."""
    if not (folder / FILE).exists():
        return False
    descriptor = _open(folder / FILE)
    try:
        return not _is_mine(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _open(file: Path) -> int:
    """The lock file; whoever may write into the folder may lock, and nobody else."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileNotFoundError):
        return os.open(file, flags)
    descriptor = os.open(file, flags | os.O_CREAT, 0o600)
    folder = file.parent.stat()
    if not folder.st_mode & stat.S_ISVTX and os.fstat(descriptor).st_uid == os.geteuid():  # not in /tmp
        group, others = bool(folder.st_mode & stat.S_IWGRP), bool(folder.st_mode & stat.S_IWOTH)
        with suppress(OSError):  # a file system without modes
            os.fchmod(descriptor, 0o600 | 0o060 * group | 0o006 * others)
    return descriptor


def _is_mine(descriptor: int, kind: int) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            return False
        raise
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip("\0\n ") or "another process"


def _sign(descriptor: int, text: str) -> None:
    """Write who holds the lock, for those who wait; on a full disk they are not told."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
