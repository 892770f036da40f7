"""A training run's folder: checkpoints, record and results, consistent at every moment; and what the terminal shows of it."""
