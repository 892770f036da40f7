"""What commands take from a terminal and show on it: options, progress, tables, verdicts."""
