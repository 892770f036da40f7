"""From a picture file to upright RGB pixels, and what is said of one that cannot be read."""
