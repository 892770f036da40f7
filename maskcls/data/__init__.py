"""From a folder of photos to batches: list, labels, split by person, cache of decoded photos, augmentation."""
