"""One worker process: takes trials from the queue (worker.py) and runs them (objective.py)."""
