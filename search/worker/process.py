"""python -m search.worker.process FD: the process around worker.py, from loading it to its end."""

import gc
import sys


def main() -> None:
    """Load and work, in a process that loses no time to garbage that is not there."""
    gc.disable()  # what is loaded is a million objects to stay: looking for garbage among them takes a seventh of it
    import optuna
    import torch

    import search.worker.worker
    from maskcls.system.console import log_to_console
    from maskcls.system.redact import guard_tracebacks, redacted_traceback

    gc.enable()
    gc.freeze()
    guard_tracebacks()
    log_to_console()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # until a config says otherwise
    try:
        search.worker.worker.main()
        status = 0
    except Exception as error:
        print(redacted_traceback(error), file=sys.stderr, end="")
        status = 1
    gc.freeze()  # with what the trials have loaded since; the interpreter's end would look through it
    sys.exit(status)


if __name__ == "__main__":
    main()
