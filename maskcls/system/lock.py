"""Locks between processes, also on different machines.

A lock is a file of its own beside what it guards, so that a user's ``flock runs ...`` on the folder itself does not
take it. It is open for writing: only then does NFS turn flock into a lock on the server (man 2 flock). The kernel
releases it when its holder dies; the file stays, as two processes could otherwise lock two files of one name.
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
"""Name of the lock file of the folder that it lies in."""

QUIET_SECONDS = 5
"""A wait that takes longer is logged."""

STUCK_SECONDS = 600
"""A process that holds a lock for so long is stuck: work under a lock takes seconds."""


class StuckError(UserError):
    """A process does not release a lock."""


class Wait:
    """A wait for a lock, which is logged once, and ends in StuckError when one holder does not release it."""

    def __init__(self, what: str, limit: float | None = STUCK_SECONDS) -> None:
        """``what``: the locked thing, for messages. ``limit``: seconds that one holder may keep it; None: any time."""
        self.what, self.limit = what, limit
        self.began = self.changed = time.monotonic()
        self.holder, self.is_logged = "", False

    def check(self, holder: str) -> None:
        """Call this after every failed attempt. Raises StuckError when ``holder`` has kept the lock for too long."""
        if threading.current_thread() is threading.main_thread():
            beat()  # waiting is not hanging
        now = time.monotonic()
        if holder != self.holder:
            self.holder, self.changed = holder, now
        if not self.is_logged and now - self.began >= QUIET_SECONDS:
            self.is_logged = True
            logger.warning(f"waiting for {self.what}: held by {holder}")
        if self.limit is not None and now - self.changed >= self.limit:
            raise StuckError(
                f"{self.what} has been held by {holder} for {self.limit / 60:.0f} minutes; end that process, then run"
                " the same command again."
            )


@contextmanager
def hold(folder: Path, limit: float | None = None) -> Iterator[None]:
    """Wait for the folder's lock and hold it, as ``hold_file`` does."""
    with hold_file(folder / FILE, str(folder), limit):
        yield


@contextmanager
def hold_file(file: Path, what: str, limit: float | None = STUCK_SECONDS) -> Iterator[None]:
    """Wait for the lock on the file and hold it. ``what`` and ``limit`` as in ``Wait``.

    Do not nest it for one file: a process also waits for itself. Raises StuckError when the same process has held the
    lock for ``limit`` seconds.
    """
    descriptor = _open(file)
    try:
        wait, pause_seconds = Wait(what, limit), 0.002
        while not _take(descriptor):
            wait.check(_holder(descriptor))
            time.sleep(pause_seconds)
            pause_seconds = min(1.5 * pause_seconds, 0.1)
        _sign(descriptor, _myself())
        yield
        _sign(descriptor, "")
    finally:
        os.close(descriptor)


def try_file(file: Path) -> int | str:
    """Take the lock on the file at once: the descriptor that holds it until it is closed, or who else holds it.

    A process that inherits the descriptor holds the lock too.
    """
    descriptor = _open(file)
    if _take(descriptor):
        _sign(descriptor, _myself())
        return descriptor
    holder = _holder(descriptor)
    os.close(descriptor)
    return holder


def share_folder(folder: Path) -> None:
    """Take a shared lock on the folder until this process ends; others may share it."""
    fcntl.flock(_open(folder / FILE), fcntl.LOCK_SH)


def is_held(folder: Path) -> bool:
    """Whether a process holds the folder's lock, alone or shared."""
    return (folder / FILE).exists() and is_locked(folder / FILE)


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock on the file, alone or shared. Raises OSError if the file cannot be opened."""
    descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    try:
        return not _take(descriptor)
    finally:
        os.close(descriptor)


def _open(file: Path) -> int:
    """Open the lock file, or create it so that exactly those who may write into the folder can lock."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileNotFoundError):
        return os.open(file, flags)
    descriptor = os.open(file, flags | os.O_CREAT, 0o600)
    folder = file.parent.stat()
    if not folder.st_mode & stat.S_ISVTX and os.fstat(descriptor).st_uid == os.geteuid():  # not in /tmp
        for_group, for_others = bool(folder.st_mode & stat.S_IWGRP), bool(folder.st_mode & stat.S_IWOTH)
        with suppress(OSError):  # a file system without modes
            os.fchmod(descriptor, 0o600 | 0o060 * for_group | 0o006 * for_others)
    return descriptor


def _take(descriptor: int) -> bool:
    """Take the lock if it is free; returns whether it was."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # another process holds it
            return False
        raise
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip("\0\n ") or "another process"


def _myself() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')}"


def _sign(descriptor: int, text: str) -> None:
    """Write the holder's name into the lock file, for processes that wait. On a full disk it stays empty."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
