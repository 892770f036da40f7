"""Where a result came from: versions, commit, device, weights."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "timm", "optuna", "numpy", "pandas", "pillow")


@cache
def versions() -> dict[str, str]:
    """Of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


@cache
def commit() -> str:
    """The checkout's commit, "-dirty" appended when files differ from it; "unknown" outside a checkout."""
    here = Path(__file__).parent
    try:
        call = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--match="]
        return subprocess.run(
            call, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
