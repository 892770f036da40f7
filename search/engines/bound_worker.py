"""python -m search.engines.bound_worker FD: a worker that ends with its parent, even if that is killed.

A supervisor's worker finishes its evaluation when the supervisor dies. A worker of an engine must not: the engine gives
its share of the GPU to the next one at once.
"""

import ctypes
import signal

from search.worker.process import main

PR_SET_PDEATHSIG = 1
"""Of linux/prctl.h: which signal the kernel sends when the parent dies."""


def end_with_parent() -> None:
    """Let the kernel kill this process with its parent; one that is dead already shows at the end of the input."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    main()
