"""The control groups (cgroups, version 1 and 2) that containers, systemd and batch systems put around this process."""

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")


def cgroup_files(controller: str, name: str) -> list[Path]:
    """The existing files of this name in this process's group and all groups around it, innermost first.

    Each of them may set a limit; the tightest counts.
    """
    paths = []
    for mount, root, group in _trees(controller):
        # in a container the mount's root may be its own group, under whose outer name no folder exists here
        is_inside = Path(group).is_relative_to(root)
        own = mount / Path(group).relative_to(root) if is_inside else mount
        paths += [folder / name for folder in (own, *own.parents) if folder.is_relative_to(mount)]
    return [path for path in dict.fromkeys(paths) if path.exists()]


def _trees(controller: str) -> Iterator[tuple[Path, str, str]]:
    """(mount point, group at its root, this process's group) of every mounted hierarchy with the controller."""
    groups = _groups(controller)
    for mount, root, kind, options in _mounts():
        if kind == "cgroup2":
            yield mount, root, groups.get(2, "/")
        elif kind == "cgroup" and controller in options:
            yield mount, root, groups.get(1, "/")


def _groups(controller: str) -> dict[int, str]:
    """This process's group by cgroup version: ``4:cpu,cpuacct:/a/b`` is of version 1, ``0::/a/b`` of version 2."""
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
    """A path of mountinfo, which has octal codes for spaces and backslashes."""
    return text.replace("\\040", " ").replace("\\134", "\\")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
