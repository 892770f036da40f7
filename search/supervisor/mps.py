"""NVIDIA MPS: with it the kernels of workers that share a GPU run side by side, without it the workers take turns.

On an H200 three trainings at once were .94 times as fast as one alone without it, and 1.4 to 2.2 times with it
(benchmarks/README.md). The control daemon is a process of the user's own, one for each GPU; the workers find it by its
directory of pipes. Commands of one user share it, and the last to leave ends it. It changes no setting of the GPU.
https://docs.nvidia.com/deploy/mps/
"""

import logging
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from search.supervisor.gpu_holders import count_holders, private_folder
from search.supervisor.slots import Slot

logger = logging.getLogger(__name__)

CONTROL = "nvidia-cuda-mps-control"
"""The program that starts the daemon, and tells a running one what to do."""

PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
"""Environment variables by which the daemon and its clients find each other."""

DEFAULT_PIPES = Path("/tmp/nvidia-mps")
"""Where clients look without a variable."""

SECONDS = 20
"""How long the daemon may take to answer."""


def can_share() -> bool:
    """Whether workers on one GPU can compute side by side: MPS is installed, or somebody runs it already."""
    return _is_running_here() or (shutil.which(CONTROL) is not None and private_folder() is not None)


def share_gpus(slots: Sequence[Slot]) -> list[Slot]:
    """The slots, those that share a whole GPU with the daemon's directory; a daemon runs for each such GPU.

    Where the user or the machine runs a daemon already, the workers find that one, and the slots stay as they are.
    A daemon that does not start is said in one line; its workers then take turns.
    """
    if _is_running_here() or shutil.which(CONTROL) is None:
        return list(slots)
    counts = Counter(slot.gpu for slot in slots if slot.gpu.startswith("GPU-"))  # an instance (MIG) is a share already
    pipes = {gpu: _start(gpu) for gpu, count in counts.items() if count > 1}
    return [replace(slot, mps=pipes.get(slot.gpu, "")) for slot in slots]


def end_daemons(slots: Sequence[Slot]) -> None:
    """End the daemons of the slots' GPUs on which no worker of this user is left."""
    for gpu in {slot.gpu for slot in slots if slot.mps}:
        if count_holders(gpu) == 0:
            with suppress(OSError, subprocess.SubprocessError):
                _control(gpu, text="quit\n")


def _start(gpu: str) -> str:
    """Start the daemon of the GPU with this uuid unless it runs; returns its directory, empty if it does not start."""
    try:
        directory = _directory(gpu)
        if _answers(gpu):
            return str(directory)
        directory.mkdir(mode=0o700, exist_ok=True)
        status, cause = _control(gpu, "-d")
        if status == 0 or _answers(gpu):  # another command may have started it a moment ago
            return str(directory)
        cause = cause or f"exit status {status}"
    except (OSError, subprocess.SubprocessError) as error:
        cause = str(error)
    logger.info(f"NVIDIA MPS does not start ({cause}), so the workers on {gpu} take turns.")
    return ""


def _answers(gpu: str) -> bool:
    """Whether the daemon runs."""
    if not _directory(gpu).exists():
        return False
    return _control(gpu, text="get_server_list\n")[0] == 0


def _control(gpu: str, *options: str, text: str = "") -> tuple[int, str]:
    """(exit status, last line of output) of the control program for the daemon of this GPU, with ``text`` as input."""
    directory = str(_directory(gpu))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:  # a daemon would keep a pipe open
        done = subprocess.run(
            [CONTROL, *options],
            input=text.encode(),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, PIPES: directory, LOGS: directory, "CUDA_VISIBLE_DEVICES": gpu},
            timeout=SECONDS,
            start_new_session=True,  # Ctrl-C in the terminal is not for the daemon
        )
        output.seek(0)
        return done.returncode, output.read().strip().rpartition("\n")[2]


def _directory(gpu: str) -> Path:
    folder = private_folder()
    if folder is None:
        raise FileNotFoundError("there is no private folder for its pipes")
    return folder / f"mps-{gpu}"


def _is_running_here() -> bool:
    """Whether a daemon that is not ours serves this environment."""
    return PIPES in os.environ or (DEFAULT_PIPES / "control").exists()
