"""Whether a folder lies on a file system that several machines share."""

import re
from pathlib import Path

NETWORK = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "pvfs2", "ocfs2",
    "panfs", "wekafs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs",
)  # fmt: skip
"""Types as /proc/mounts has them, whose file locks do not hold (https://www.sqlite.org/faq.html#q5)."""

MOUNTS = Path("/proc/self/mounts")


def network_filesystem(folder: Path) -> str | None:
    """The type of the network file system that ``folder`` lies on; None when it is a local one."""
    folder = folder.resolve()
    best, kind = Path(), ""
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if MOUNTS.exists() else []:
        _, place, found, *_ = line.split()
        mount = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place))
        if folder.is_relative_to(mount) and len(mount.parts) >= len(best.parts):  # a later one lies over an earlier
            best, kind = mount, found
    return kind if kind in NETWORK else None
