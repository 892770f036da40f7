"""The control groups around this process: those of containers, systemd and batch systems, of either version."""

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")


def files_of(controller: str, name: str) -> list[Path]:
    """The files of this name that speak of this process, from its own group out to the outermost one that it sees.

    A limit may be set on any of them; the tightest counts.
    """
    paths = []
    for mount, root, group in _trees(controller):
        # a container may see its own group as the root of the mount, and be told its name outside
        is_inside = Path(group).is_relative_to(root)
        place = mount / Path(group).relative_to(root) if is_inside else mount
        paths += [folder / name for folder in (place, *place.parents) if folder.is_relative_to(mount)]
    return [path for path in dict.fromkeys(paths) if path.exists()]


def _trees(controller: str) -> Iterator[tuple[Path, str, str]]:
    """(where it is mounted, the group that is its root there, this process's group) of either version."""
    groups = _groups(controller)
    for mount, root, kind, options in _mounts():
        version = 2 if kind == "cgroup2" else 1
        if kind == "cgroup2" or (kind == "cgroup" and controller in options):
            yield mount, root, groups.get(version, "/")


def _groups(controller: str) -> dict[int, str]:
    """This process's group by version: ``4:cpu,cpuacct:/a/b`` is of the first, ``0::/a/b`` of the second."""
    group_of_version = {}
    for line in _lines(PROC / "cgroup"):
        _, controllers, group = line.split(":", 2)
        if not controllers:
            group_of_version[2] = group
        elif controller in controllers.split(","):
            group_of_version[1] = group
    return group_of_version


def _mounts() -> Iterator[tuple[Path, str, str, list[str]]]:
    """(mount point, root, type, options) of every mount; see ``man 5 proc_pid_mountinfo``."""
    for line in _lines(PROC / "mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) > 4 and len(kind) > 2:
            yield Path(_unescaped(fields[4])), _unescaped(fields[3]), kind[0], kind[2].split(",")


def _unescaped(text: str) -> str:
    """A space in a path is written as octal."""
    return text.replace("\\040", " ").replace("\\134", "\\")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
