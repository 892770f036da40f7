"""Where a result came from: command, study, data, weights, commit, versions."""

import platform
import subprocess
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "optuna", "numpy", "pandas", "pillow")


@cache
def versions() -> dict[str, str]:
    """The versions of Python and of each package that a result depends on."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


@cache
def commit() -> str:
    """The checkout's commit, with "-dirty" if files differ from it; "unknown" outside a checkout."""
    try:
        call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--match="]
        return subprocess.run(
            call, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a trained model came from: the ``[origin]`` table of its config.toml, and its trial's attribute "origin".

    The fields are the keys, in their order; one that is None is left out. Readers take the stored table as it is and
    must do without any of the keys, since a person may have written the file.
    """

    made_by: str
    """The command's module."""
    study: str | None = None
    """Name of the trial's study at the time it ran."""
    study_id: str | None = None
    """Id of the study that the trial ran in; None in studies older than ids."""
    trial: int | None = None
    """Number of the trial in its study."""
    data: str
    """--data as stored: a folder, or "synthetic"."""
    split: str
    """Hash of the photos, their labels and their sides of the split."""
    task: dict[str, Any] | None = None
    """What was to be told from the photos, with the names of the classes (tasks.declared.task_to_json); None for the
    mask task."""
    weights_option: str | None = None
    """--weights as stored."""
    weights: dict[str, str] | None = None
    """Weights.describe(): the source and the files' digests."""
    weights_commits: dict[str, str] | None = None
    """Weights.commits: the hub's commits of the weights, from which they can be loaded again."""
    revision: int | None = None
    """maskcls.training.revision.REVISION of the code that trained it."""
    value: float | None = None
    """Score of joined models (composed ones, an ensemble) on the groups that they were chosen by."""
    corrected: float | None = None
    """``value`` less the optimism of choosing the best."""
    chosen_among: int | None = None
    """Number of combinations that a composed model was chosen from, or of models that an ensemble was."""
    commit: str = field(default_factory=commit)
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """The table for TOML and JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}
