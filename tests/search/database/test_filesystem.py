"""Which file systems a database may lie on."""

from pathlib import Path

import pytest

import search.database.filesystem
from maskcls.system.errors import UserError
from search.database.connect import default_url, open_storage
from search.database.filesystem import network_filesystem


def mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *mounts: tuple[Path | str, str]) -> None:
    """Make up the mounts: (place, type), in their order."""
    lines = [f"device {str(place).replace(' ', chr(92) + '040')} {kind} rw,relatime 0 0\n" for place, kind in mounts]
    (tmp_path / "mounts").write_text("".join(lines))
    monkeypatch.setattr(search.database.filesystem, "MOUNTS", tmp_path / "mounts")


def test_this_machines_own_table_can_be_read(tmp_path: Path) -> None:
    assert network_filesystem(Path("/proc/self")) == "proc"


@pytest.mark.parametrize("kind", ["ext4", "overlay", "tmpfs", "xfs", "btrfs", "zfs", "fuse.ext4"])
def test_a_local_file_system_is_fine(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, tmp_path, ("/", kind))
    assert network_filesystem(tmp_path) is None


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "lustre",
        "fuse.sshfs",
        "9p",
        "virtiofs",
        "fuse.grpcfuse",
        "fakeowner",
        "vboxsf",
        "fuse.vmhgfs-fuse",
        "fuse.ceph-fuse",
        "fuse.mount-s3",
        "fuse.blobfuse2",
        "orangefs",
        "fuse.davfs",
        "no-such-fs",
    ],
)
def test_one_that_may_be_shared_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path, kind))
    assert network_filesystem(tmp_path) == kind
    assert network_filesystem(tmp_path / "not" / "there" / "yet") == kind
    assert network_filesystem(tmp_path.parent) is None


def test_the_nearest_mount_counts_whatever_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = (tmp_path / "data" / "local", "ext4"), (tmp_path / "data", "nfs4")
    for mounts in ((("/", "ext4"), far, near), (near, far, ("/", "ext4"))):
        mount(monkeypatch, tmp_path, *mounts)
        assert network_filesystem(tmp_path / "data" / "local" / "runs") is None
        assert network_filesystem(tmp_path / "data" / "runs") == "nfs4"


def test_of_two_mounts_on_one_place_the_later_lies_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path, "autofs"), (tmp_path, "nfs4"))
    assert network_filesystem(tmp_path) == "nfs4"
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path, "nfs4"), (tmp_path, "ext4"))
    assert network_filesystem(tmp_path) is None


def test_a_name_that_only_begins_alike_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path / "data", "nfs"))
    assert network_filesystem(tmp_path / "database") is None


def test_a_mount_with_a_space_in_its_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path / "our share", "cifs"))
    assert network_filesystem(tmp_path / "our share" / "runs") == "cifs"


def test_a_link_is_where_it_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "share")
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path / "share", "nfs4"))
    assert network_filesystem(tmp_path / "runs") == "nfs4"


def test_a_database_on_a_shared_file_system_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(monkeypatch, tmp_path, ("/", "ext4"), (tmp_path, "nfs4"))
    with pytest.raises(UserError, match=r"file system \(nfs4\).*postgresql\+psycopg"):
        open_storage(default_url(tmp_path), create=True)
    assert not (tmp_path / "studies.db").exists()
    mount(monkeypatch, tmp_path, ("/", "ext4"))
    open_storage(default_url(tmp_path), create=True)
