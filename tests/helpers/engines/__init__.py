"""Engines for tests and benchmarks: a small Ray cluster, and workers that sleep."""
