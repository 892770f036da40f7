"""One worker process: it takes trials off the queue (worker.py) and runs them (objective.py)."""
