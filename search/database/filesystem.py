"""Whether a folder lies on a file system that is safe for an SQLite database."""

import re
from pathlib import Path

from maskcls.system.errors import UserError

LOCAL_TYPES = (
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "nilfs2", "reiserfs", "ufs", "ubifs",
    "tmpfs", "ramfs", "rootfs", "overlay", "aufs", "ecryptfs", "squashfs", "erofs", "iso9660",
    "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs", "hfsplus", "apfs",
    "fuse.ext4", "fuse.ext2", "fuse.fuse-overlayfs", "fuse-overlayfs", "fuse.exfat", "fuse.ntfs-3g",
)  # fmt: skip
"""Types in /proc/mounts of a machine's own disks and memory. Any other may be shared (nfs, 9p, virtiofs, gRPC-FUSE,
sshfs, an object store): file locks and the shared memory of write-ahead logging do not work there between machines, or
between a virtual machine and its host, and a database gets damaged (https://www.sqlite.org/wal.html,
https://www.sqlite.org/faq.html#q5)."""

MOUNTS = Path("/proc/self/mounts")


def network_filesystem(folder: Path) -> str | None:
    """The type of the file system that ``folder`` lies on; None when it is known to be local."""
    folder = folder.resolve()
    nearest, filesystem = Path(), None
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if MOUNTS.exists() else []:
        _, escaped, type_, *_ = line.split()
        mount = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), escaped))
        if folder.is_relative_to(mount) and len(mount.parts) >= len(nearest.parts):  # a later mount hides an earlier
            nearest, filesystem = mount, type_
    return None if filesystem in LOCAL_TYPES else filesystem


def check_local(path: Path) -> None:
    """Raise UserError when an SQLite file lies, or would lie, where SQLite cannot trust file locks."""
    filesystem = network_filesystem(path.parent)
    if filesystem is not None:
        raise UserError(
            f"{path} lies on a file system ({filesystem}) that may be shared with other machines; SQLite cannot trust"
            " its locks, and would damage the study. Use --storage sqlite:////a/local/path/studies.db (on ext4, xfs,"
            " btrfs, zfs, overlay, tmpfs, ...), or --storage postgresql+psycopg://..."
        )
