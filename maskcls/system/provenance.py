"""Where a result came from: versions, commit, device, weights."""

import platform
import subprocess
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "optuna", "numpy", "pandas", "pillow")


@cache
def versions() -> dict[str, str]:
    """Version of Python and of each package that a result depends on."""
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


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a trained model came from: the ``[origin]`` of its config.toml, and its trial's attribute "origin".

    The fields are the keys, in their order; one that is None is left out. Readers take the stored table as it is, since
    a person may have written the file: they know these keys and must do without any of them.
    """

    made_by: str
    """The command, as a module."""
    study: str | None = None
    """Name of the trial's study when it ran."""
    study_id: str | None = None
    """Id of the study that the trial's files were begun in; None in one from before there were ids."""
    trial: int | None = None
    """Number of the trial in its study."""
    data: str
    """--data as kept: a folder, or "synthetic"."""
    split: str
    """Hash of photos, labels and sides."""
    weights_option: str | None = None
    """--weights as kept."""
    weights: dict[str, str] | None = None
    """Weights.describe(): the source and the files' digests."""
    weights_commits: dict[str, str] | None = None
    """Weights.commits: which weights to ask the hub for again."""
    revision: int | None = None
    """maskcls.training.revision.REVISION that trained it."""
    value: float | None = None
    """Macro F1 of a trio on the people who chose it."""
    corrected: float | None = None
    """The same, less what choosing adds to it."""
    chosen_among: int | None = None
    """How many trios there were to choose from."""
    commit: str = field(default_factory=commit)
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """Plain values for TOML and JSON."""
        values = {key.name: getattr(self, key.name) for key in fields(self)}
        return {key: value for key, value in values.items() if value is not None}
