"""A disk that is really full, or not to be written to: a small file system of its own, where one may be mounted."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.run
from tests.helpers.one_process import work_in_this_process
from tests.helpers.search import MINE, Place
from tests.helpers.training import run


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(call, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let the tests mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def run_in_processes(place: Place) -> tuple[str, int]:
    process = place.start("--n-trials", "3")
    assert process.stdout is not None
    return process.stdout.read(), process.wait(timeout=120)


def run_here(place: Place, capfd: pytest.CaptureFixture[str]) -> tuple[str, int]:
    with pytest.MonkeyPatch.context() as patch:
        work_in_this_process(patch)
        status = run(search.run.main, *place.command, "--n-trials", "3")
    return "".join(capfd.readouterr()), status


@pytest.mark.parametrize(
    ("what", "options"), [("mine", "size=1500k"), (".", "size=4m"), ("mine", "ro"), ("artifacts", "size=8k")]
)
def test_a_full_disk_stops_cleanly_and_the_same_command_goes_on(
    tmp_path: Path, synthetic_folder: Path, what: str, options: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    place = Place(tmp_path, synthetic_folder)
    with mounted(tmp_path / "runs" / what, options):
        told, status = run_in_processes(place) if what == "." else run_here(place, capfd)
        assert status != 0, told
        assert "Traceback" not in told
        assert any(words in told for words in ("No space left", "disk", "Read-only file system", "full")), told
    told, status = run_here(place, capfd)
    assert status == 0, told
    trials = place.trials()
    assert len(trials) == 3
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
