"""The training loop, what it needs first (numerics, learning-rate schedule, the run's folder), and trained models."""
