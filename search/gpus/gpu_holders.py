"""Which GPUs have workers of this user: a locked file for each worker, since in a container the driver gives its own
pids or none.

The files are ``GPU.0``, ``GPU.1``, ... (GPU: the uuid) in a folder of the user's own. A worker inherits the open file
that is locked for it, so the kernel releases the lock when it ends, however it ends. The files stay.
"""

import fcntl
import logging
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

MAX_HOLDERS = 64
"""Workers of a user on one GPU that are told apart; more of them go uncounted."""

COMMON = Path("/tmp")
"""Where the folder is, whatever TMPDIR says, which may be another for each job: commands must see each other."""

FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def lock_holder(gpu: str) -> int | None:
    """Lock a file for a worker that is about to start on the GPU with this uuid; returns its descriptor.

    None where no folder can be trusted: then the driver's numbers alone say who is on a GPU.
    """
    folder = private_folder()
    if folder is None:
        return None
    for index in range(MAX_HOLDERS):
        try:
            descriptor = os.open(_file(folder, gpu, index), FLAGS | os.O_CREAT, 0o600)
        except OSError:  # a full disk
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another worker's
            os.close(descriptor)
        else:
            return descriptor
    return None


def count_holders(gpu: str) -> int:
    """Number of this user's workers on the GPU with this uuid, of all commands on this machine or in this container."""
    folder = private_folder()
    if folder is None:
        return 0
    return sum(_is_locked(_file(folder, gpu, index)) for index in range(MAX_HOLDERS))


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look do not see each other
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _file(folder: Path, gpu: str, index: int) -> Path:
    return folder / f"{gpu.replace('/', '_')}.{index}"


def private_folder() -> Path | None:
    """The user's folder for files about GPUs, made if it is missing; None if it is not the user's alone.

    Not in XDG_RUNTIME_DIR: that is emptied when the user logs out, and a study under ``nohup`` runs on.
    """
    place = COMMON if os.access(COMMON, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    folder = place / f"mask-search-{os.geteuid()}"
    return folder if _is_private(folder) else None


@cache  # so that it is said once
def _is_private(folder: Path) -> bool:
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()  # of a link itself, not of what somebody else made it point to
    except OSError as error:
        logger.warning(f"Workers on GPUs are not counted: {error}.")
        return False
    is_private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if not is_private:
        logger.warning(f"Workers on GPUs are not counted, since {folder} is not a folder of this user alone.")
    return is_private
