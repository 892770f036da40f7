"""Folders of labelled photos that are not the mask task's, for the tests."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tests.helpers.training import save_photo


def save_photos(folder: Path, paths: Iterable[str]) -> Path:
    """Small photos under these relative paths, each another; returns the folder."""
    rng = np.random.default_rng(0)
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        save_photo(folder / path, rng.integers(256, size=(4, 3, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1))
    return folder


def save_table(path: Path, rows: Iterable[Iterable[object]], separator: str = ",") -> Path:
    """A table of these rows, the first of which is the header; no cell may need quotes."""
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path
