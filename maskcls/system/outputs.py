"""Files that a user has named, written where they are: a link's target, a device, a pipe, the command's own output.

A regular file is replaced as a whole, so that readers see the old one or the new, and keeps its mode and its owner.
"""

import errno
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from maskcls.system.errors import UserError
from maskcls.system.files import check_folder

IN_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV}
"""Why a file can be written into and not replaced: a folder of somebody else's, or a file that is mounted itself."""

MAX_LINKS = 40
"""As the kernel has it."""


def check_output(out: Path) -> None:
    """Raise UserError, before any work is done for it, when no file can be written there."""
    if out.is_dir():
        raise UserError(f"{out} is a folder; --out is a file to write.")
    if _own_descriptor(out) is not None:
        return
    target = Path(os.path.realpath(out))
    if not target.parent.is_dir():
        where = f"{target.parent}, where the link {out} leads," if out.is_symlink() else f"{out.parent}"
        raise UserError(f"There is no folder {where} to write {target.name} into.")
    if not os.access(target if target.exists() else target.parent, os.W_OK) and not os.access(target.parent, os.W_OK):
        raise UserError(f"{out} cannot be written by this user; name another file by --out.")


def check_stays(out: Path) -> None:
    """Raise UserError for what is written once and read nowhere: a device, a pipe, the command's own output.

    For a file that other files belong to, and that names them by where it lies.
    """
    if _own_descriptor(out) is not None or (out.exists() and not out.is_file()):
        raise UserError(f"{out} is a device or a pipe, and other files are to lie beside it; name a file by --out.")


def check_output_folder(out: Path) -> None:
    """Raise UserError when no files can be written into that folder, which is made later where there is none."""
    check_folder(out, "--out")
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"The folder {out} cannot be written into; name another by --out.")


def write_output(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file, which becomes that of this name. ``write`` gets a path with the same ending."""
    descriptor = _own_descriptor(path)
    target = Path(os.path.realpath(path))
    before = None
    with suppress(FileNotFoundError):
        before = path.stat()
    if descriptor is None and (before is None or stat.S_ISREG(before.st_mode)):
        _replace(target, before, write)
        return
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / f"part{path.suffix}"
        write(part)
        if descriptor is not None:
            if sys.stdout is not None:
                sys.stdout.flush()
            _copy(part, os.dup(descriptor))
        else:
            _copy(part, os.open(path, os.O_WRONLY))


def write_output_text(path: Path, text: str) -> None:
    """The text as that file."""
    write_output(path, lambda part: part.write_text(text, encoding="utf-8"))


def is_own_output(out: Path) -> bool:
    """Whether it is an open file of this process (``-o /dev/stdout``), which nobody finds by that name later."""
    return _own_descriptor(out) is not None


@contextmanager
def telling_beside(out: Path) -> Iterator[None]:
    """What is said goes to stderr while the output itself goes to stdout (``-o /dev/stdout``)."""
    if _own_descriptor(out) == 1:
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def _replace(target: Path, before: os.stat_result | None, write: Callable[[Path], object]) -> None:
    part = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        try:
            write(part)
            if before is not None:
                _be_like(part, before)
            part.replace(target)
        except OSError as error:
            if before is None or error.errno not in IN_PLACE:
                raise
            _write_into(target, write)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _be_like(part: Path, before: os.stat_result) -> None:
    if (os.geteuid(), os.getegid()) != (before.st_uid, before.st_gid):
        with suppress(PermissionError):  # only root gives files away
            os.chown(part, before.st_uid, before.st_gid)
    part.chmod(stat.S_IMODE(before.st_mode))


def _write_into(target: Path, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / f"part{target.suffix}"
        write(part)
        _copy(part, os.open(target, os.O_WRONLY | os.O_TRUNC))


def _copy(source: Path, descriptor: int) -> None:
    with source.open("rb") as content, open(descriptor, "wb") as into:
        shutil.copyfileobj(content, into)


def _own_descriptor(path: Path) -> int | None:
    """The number of the open file of this process that the path names: ``/dev/stdout``, ``/dev/fd/3``, a link to such.

    It has to be written to as it is. What opening the name anew gives begins at the front of a file that a shell has
    opened for the output, and cannot be had of a socket.
    """
    ours = {f"/proc/{name}/fd" for name in ("self", "thread-self", str(os.getpid()))}
    for _ in range(MAX_LINKS):
        folder = Path(os.path.realpath(path.parent))
        if str(folder) in ours and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = folder / path.readlink()
    return None
