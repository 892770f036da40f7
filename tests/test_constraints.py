"""``.ci/constraints.txt``, by which an install can be made again, fits what the project asks for."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ASKED = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]


def pinned() -> dict[str, str]:
    """Package -> its one version; a line that pins none fails."""
    lines = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("line", sorted(set(ASKED)))
def test_every_dependency_is_pinned_within_its_bounds(line: str) -> None:
    asked, versions = Requirement(line), pinned()
    assert asked.specifier.contains(versions[canonicalize_name(asked.name)])
