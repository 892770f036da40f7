"""python -m search.worker.process FD: loads worker.py, runs it and exits."""

import gc
import sys


def main() -> None:
    """Load the libraries and run the worker, without garbage collection over the objects that stay for good."""
    gc.disable()  # loading makes a million lasting objects, and collecting among them takes a seventh of its time
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
    torch.set_num_threads(1)  # until a config sets them
    try:
        search.worker.worker.main()
        status = 0
    except Exception as error:
        print(redacted_traceback(error), file=sys.stderr, end="")
        status = 1
    gc.freeze()  # also what the trials have loaded, or the interpreter would collect among it on exit
    sys.exit(status)


if __name__ == "__main__":
    main()
