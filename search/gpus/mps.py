"""NVIDIA MPS: with it the kernels of workers that share a GPU run side by side, without it the workers take turns.

On an H200 three trainings at once were .94 times as fast as one alone without it, and 1.4 to 2.2 times with it
(benchmarks/README.md). The control daemon is a process of the user's own, one for each GPU; the workers find it by its
directory of pipes. Commands of one user share it, and the last to leave ends it. It changes no setting of the GPU.
https://docs.nvidia.com/deploy/mps/
"""

import fcntl
import logging
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from search.gpus.gpu_holders import FLAGS, count_holders, private_folder
from search.gpus.slots import Slot

logger = logging.getLogger(__name__)

CONTROL = "nvidia-cuda-mps-control"
"""The program that starts the daemon, and tells a running one what to do."""

PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
"""Environment variables by which the daemon and its clients find each other."""

DEFAULT_PIPES = Path("/tmp/nvidia-mps")
"""Where clients look without a variable."""

START_SECONDS, ANSWER_SECONDS = 20, 5
"""How long the daemon may take to start and to answer."""

CLIENT_SECONDS = 2
"""How long it may take to end a client that is to be killed."""


def can_share() -> bool:
    """Whether workers on one GPU can compute side by side: MPS is installed and has a place for its pipes, or runs."""
    return shutil.which(CONTROL) is not None and (private_folder() is not None or _is_running_here())


@contextmanager
def shared_gpus(slots: Sequence[Slot]) -> Iterator[list[Slot]]:
    """The slots, those that share a whole GPU with the daemon's directory; a daemon runs for each such GPU.

    Where the user or the machine runs a daemon already, the workers find that one, and the slots stay as they are.
    A daemon that does not start is reported in one line, and its workers take turns. At the end, daemons are ended that
    no other command and no worker of this user uses.
    """
    counts = Counter(slot.gpu for slot in slots if slot.gpu.startswith("GPU-"))  # an instance (MIG) is a share already
    shared = [gpu for gpu, count in counts.items() if count > 1]
    if not shared or shutil.which(CONTROL) is None or _is_running_here():
        yield list(slots)
        return
    with ExitStack() as stack:
        pipes = {gpu: stack.enter_context(_daemon(gpu)) for gpu in shared}
        yield [replace(slot, mps=pipes.get(slot.gpu, "")) for slot in slots]


def end_client(slot: Slot, pid: int) -> None:
    """Let the daemon of the slot end the work of its client ``pid`` on the GPU, if it can, before that is killed.

    A client that is killed while its kernels run may take all others with it.
    """
    with suppress(OSError, subprocess.SubprocessError):
        _, server = _control(slot.mps, text="get_server_list\n", seconds=CLIENT_SECONDS)
        if server.isdecimal():
            _control(slot.mps, text=f"terminate_client {server} {pid}\n", seconds=CLIENT_SECONDS)


@contextmanager
def _daemon(gpu: str) -> Iterator[str]:
    """The directory of the daemon of the GPU with this uuid, which runs meanwhile; empty if it does not start.

    A lock that commands share while they use the daemon keeps another from ending it before their first worker holds
    the GPU. The kernel releases it when a command is killed.
    """
    try:
        lock = os.open(f"{_directory(gpu)}.lock", FLAGS | os.O_CREAT, 0o600)
    except OSError as error:
        _say_not_started(gpu, str(error))
        yield ""
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits while another command ends the daemon
        yield _start(gpu)
    finally:
        _end(gpu, lock)
        os.close(lock)


def _end(gpu: str, lock: int) -> None:
    """End the daemon unless another command uses it, or a worker whose command was killed."""
    with suppress(OSError, subprocess.SubprocessError):
        fcntl.flock(lock, fcntl.LOCK_UN)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if count_holders(gpu) == 0 and _answers(_directory(gpu)):
            _control(str(_directory(gpu)), text="quit\n")


def _start(gpu: str) -> str:
    """Start the daemon of the GPU with this uuid unless it runs; returns its directory, empty if it does not start."""
    try:
        directory = _directory(gpu)
        if _answers(directory):
            return str(directory)
        directory.mkdir(mode=0o700, exist_ok=True)
        status, cause = _control(str(directory), "-d", gpu=gpu, seconds=START_SECONDS)
        if status == 0 or _answers(directory):  # another command may have started it a moment ago
            return str(directory)
        cause = cause or f"exit status {status}"
    except (OSError, subprocess.SubprocessError) as error:
        cause = str(error)
    _say_not_started(gpu, cause)
    return ""


def _say_not_started(gpu: str, cause: str) -> None:
    logger.info(f"NVIDIA MPS does not start ({cause}), so the workers on {gpu} take turns.")


def _answers(directory: Path) -> bool:
    """Whether the daemon of this directory runs; its pipes outlive one that was killed."""
    if not (directory / "control").exists():
        return False
    with suppress(OSError, subprocess.SubprocessError):
        return _control(str(directory), text="get_server_list\n")[0] == 0
    return False


def _control(
    directory: str, *options: str, text: str = "", gpu: str = "", seconds: float = ANSWER_SECONDS
) -> tuple[int, str]:
    """(exit status, last line of output) of the control program for the daemon of this directory.

    ``text``: what it is asked. ``gpu``: the uuid of the GPU for which a daemon is to start.
    """
    visible = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:  # a daemon would keep a pipe open
        done = subprocess.run(
            [CONTROL, *options],
            input=text.encode(),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, PIPES: directory, LOGS: directory, **visible},
            timeout=seconds,
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
    return _answers(Path(os.environ.get(PIPES) or DEFAULT_PIPES))
