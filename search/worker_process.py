"""python -m search.worker_process FD: the process around worker.py, from loading it to its end."""

import gc
import sys
import traceback


def main() -> None:
    """Load and work, in a process that loses no time to garbage that is not there."""
    gc.disable()  # what is loaded is a million objects to stay: looking for garbage among them takes a seventh of it
    import optuna
    import torch

    import search.worker

    gc.enable()
    gc.freeze()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # until a config says otherwise
    try:
        search.worker.main()
        status = 0
    except Exception:
        traceback.print_exc()
        status = 1
    gc.freeze()  # with what the trials have loaded since; the interpreter's end would look through it
    sys.exit(status)


if __name__ == "__main__":
    main()
