"""Whether a folder lies on a file system that an SQLite database may lie on."""

import re
from pathlib import Path

from maskcls.system.errors import UserError

LOCAL = (
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "nilfs2", "reiserfs", "ufs", "ubifs",
    "tmpfs", "ramfs", "rootfs", "overlay", "aufs", "ecryptfs", "squashfs", "erofs", "iso9660",
    "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs", "hfsplus", "apfs",
    "fuse.ext4", "fuse.ext2", "fuse.fuse-overlayfs", "fuse-overlayfs", "fuse.exfat", "fuse.ntfs-3g",
)  # fmt: skip
"""Types as /proc/mounts has them, of one machine's own disks and memory. Whatever is not among them may be shared
(nfs, 9p, virtiofs, gRPC-FUSE, sshfs, an object store): file locks or the shared memory of write-ahead logging do not
hold there between machines, or between a virtual machine and its host, and a database gets damaged
(https://www.sqlite.org/wal.html, https://www.sqlite.org/faq.html#q5)."""

MOUNTS = Path("/proc/self/mounts")


def network_filesystem(folder: Path) -> str | None:
    """The type of the file system that ``folder`` lies on when it is not known as a local one; None when it is."""
    folder = folder.resolve()
    best, kind = Path(), None
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if MOUNTS.exists() else []:
        _, place, found, *_ = line.split()
        mount = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place))
        if folder.is_relative_to(mount) and len(mount.parts) >= len(best.parts):  # a later one lies over an earlier
            best, kind = mount, found
    return None if kind in LOCAL else kind


def check_local(path: Path) -> None:
    """Raise UserError when an SQLite file lies, or would lie, where its locks cannot be trusted."""
    kind = network_filesystem(path.parent)
    if kind is not None:
        raise UserError(
            f"{path} lies on a file system ({kind}) that may be shared with other machines; its locks SQLite cannot"
            " trust, and a study would be damaged. Use --storage sqlite:////a/local/path/studies.db (on ext4, xfs,"
            " btrfs, zfs, overlay, tmpfs, ...), or --storage postgresql+psycopg://..."
        )
