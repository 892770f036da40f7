"""The queue of a study's trials, their failures, and their files."""
