"""From a table of photos to batches: split by person, cache of decoded photos, augmentation."""
