"""From a picture file to upright RGB pixels, or to the reason why it cannot be read."""
