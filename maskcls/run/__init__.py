"""A training run's folder: checkpoints, record and results, consistent at every moment; and the words on its end."""
