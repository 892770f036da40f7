"""Output files that a user names: regular files, links, devices, pipes, the command's own standard output.

A regular file is replaced as a whole (readers see the old content or the new) and keeps its mode and its owner.
"""

import errno
import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from pathlib import Path

from maskcls.system.errors import UserError
from maskcls.system.files import check_folder

IN_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV}
"""Errors of replacing a file that can still be written into: another user's folder, or a file mounted by itself."""


def check_output(out: Path) -> None:
    """Raise UserError when no file can be written at ``out``; call it before the work."""
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


def check_is_regular(out: Path) -> None:
    """Raise UserError for a device or pipe, where a file must have other files beside it, whose paths it holds."""
    if is_own_output(out) or (out.exists() and not out.is_file()):
        raise UserError(f"{out} is a device or a pipe, and other files are to lie beside it; name a file by --out.")


def check_output_folder(out: Path) -> None:
    """Raise UserError when no files can be written into the folder, which need not exist yet."""
    check_folder(out, "--out")
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"The folder {out} cannot be written into; name another by --out.")


def write_output(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a temporary file with the same ending, and write its content to ``path``."""
    descriptor = _own_descriptor(path)
    if descriptor is not None:
        _write_into(lambda: os.dup(descriptor), path.suffix, write)
        return
    before = None
    with suppress(FileNotFoundError):
        before = path.stat()
    if before is None or stat.S_ISREG(before.st_mode):
        _replace(Path(os.path.realpath(path)), before, write)
    else:
        _write_into(lambda: os.open(path, os.O_WRONLY), path.suffix, write)


def write_output_text(path: Path, text: str) -> None:
    """Write the text to ``path``, as ``write_output`` does."""
    write_output(path, lambda part: part.write_text(text, encoding="utf-8"))


def is_own_output(out: Path) -> bool:
    """Whether ``out`` is an open file of this process (``-o /dev/stdout``)."""
    return _own_descriptor(out) is not None


def messages_beside(out: Path) -> AbstractContextManager[object]:
    """A block that prints messages to stderr if the output itself goes to stdout (``-o /dev/stdout``)."""
    return redirect_stdout(sys.stderr) if _own_descriptor(out) == 1 else nullcontext()


def _replace(target: Path, before: os.stat_result | None, write: Callable[[Path], object]) -> None:
    """Replace the regular file ``target``, whose status was ``before`` (None: there was none)."""
    part = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    try:
        write(part)
        if before is not None:
            _keep_owner_and_mode(part, before)
        part.replace(target)
    except OSError as error:
        if before is None or error.errno not in IN_PLACE:
            raise
        _write_into(lambda: os.open(target, os.O_WRONLY | os.O_TRUNC), target.suffix, write)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _keep_owner_and_mode(part: Path, before: os.stat_result) -> None:
    if (os.geteuid(), os.getegid()) != (before.st_uid, before.st_gid):
        with suppress(PermissionError):  # only root gives files away
            os.chown(part, before.st_uid, before.st_gid)
    part.chmod(stat.S_IMODE(before.st_mode))


def _write_into(open_target: Callable[[], int], suffix: str, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a temporary file, then copy it into the descriptor that ``open_target`` returns."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / f"part{suffix}"
        write(part)
        if sys.stdout is not None:
            sys.stdout.flush()  # the target may be the same file
        with part.open("rb") as content, os.fdopen(open_target(), "wb") as target:
            shutil.copyfileobj(content, target)


def _own_descriptor(path: Path) -> int | None:
    """The file descriptor of this process that the path names: ``/dev/stdout``, ``/dev/fd/3``, or a link to such.

    It must be written to directly: opening the name again fails for a socket, and begins at the start of a file that
    a shell has opened for the output.
    """
    own_folders = {f"/proc/{name}/fd" for name in ("self", "thread-self", str(os.getpid()))}
    for _ in range(40):  # the kernel's own limit for a chain of links
        folder = Path(os.path.realpath(path.parent))
        if str(folder) in own_folders and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = folder / path.readlink()
    return None
