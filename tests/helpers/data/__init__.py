"""Helpers of tests of the data: caches of photos."""
