"""What a training leaves in its folder: checkpoints, records, results, whole at any moment."""
