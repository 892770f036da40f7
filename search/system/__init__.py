"""What the search needs of the machine: processes, signals, clocks, shell quoting and the storage URL."""
