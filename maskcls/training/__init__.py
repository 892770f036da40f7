"""The training loop, and what it needs first: numerics, learning-rate schedule, the run's folder."""
