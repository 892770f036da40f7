"""The queue of a study's trials, their failures, and what they leave on the disk."""
