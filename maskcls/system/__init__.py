"""The machine and the terminal: files, locks, cores, errors, and what every command shares."""
