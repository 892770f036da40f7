"""Processes, signals, clocks, a shell's words and a storage's URL: what the search needs of the machine."""
