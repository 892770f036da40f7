"""Whether what a study's work goes into is still there; a disk that does not answer for a moment is another matter."""

import errno
import gc
import os
from pathlib import Path

import pytest

from search.database.connect import create_study, default_url, open_storage
from search.storage.folder import MARKER, make_folder, read_marker
from search.storage.presence import StudyPresence
from search.study.attributes import STUDY_ID
from search.study.record import KEY

ERRORS = [errno.EACCES, errno.EIO, errno.ESTALE]


@pytest.fixture
def ground(tmp_path: Path) -> StudyPresence:
    storage = open_storage(default_url(tmp_path), create=True)
    mine = make_folder("toy", storage, tmp_path)
    return StudyPresence(create_study(storage, "toy", {STUDY_ID: mine, KEY: {}}), tmp_path / "toy")


def fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Make reading any marker fail."""
    real = Path.read_text

    def read_text(path: Path, *given: str, **options: str) -> str:
        if path.name == MARKER:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *given, **options)

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.parametrize("number", ERRORS)
def test_a_marker_that_cannot_be_read_for_a_moment_is_no_loss(
    ground: StudyPresence, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, number)
        assert ground.lost() == ""
        assert ground.why_failed() == ""
    assert ground.lost() == ""


def test_a_marker_that_is_gone_or_anothers_is_a_loss(ground: StudyPresence, tmp_path: Path) -> None:
    path = tmp_path / "toy" / MARKER
    path.write_text(path.read_text().replace(str(ground.id), "f" * 32))
    assert "was removed or moved while the study ran" in ground.lost()
    path.unlink()
    assert read_marker(tmp_path / "toy") is None
    assert "was removed or moved while the study ran" in ground.lost()


def test_files_are_closed_with_the_presence(tmp_path: Path) -> None:
    presence = StudyPresence(create_study(open_storage(default_url(tmp_path), create=True), "toy", {}), tmp_path)
    assert presence.lost() == ""
    descriptors = list(presence._descriptors.values())
    held = [Path(f"/proc/self/fd/{descriptor}").readlink() for descriptor in descriptors]
    assert held == [tmp_path / "studies.db", tmp_path]
    del presence
    gc.collect()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
