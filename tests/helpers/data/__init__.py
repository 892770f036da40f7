"""Helpers of tests of the data: photos that are drawn, written, cached and augmented."""
