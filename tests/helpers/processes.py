"""Commands that run as processes of their own: what they say, and how they end."""

import subprocess
import time
from collections.abc import Callable

from optuna.trial import FrozenTrial

from search.system.processes import WorkerIdentity


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """All that was said up to the line with these words."""
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if words in line:
            return told
    raise AssertionError(told)


def end(process: "subprocess.Popen[str]") -> tuple[str, int]:
    assert process.stdout is not None
    return process.stdout.read(), process.wait(timeout=60)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def worker_of(trial: FrozenTrial) -> WorkerIdentity:
    worker = WorkerIdentity.from_json(trial.user_attrs["worker"])
    assert worker is not None
    return worker
