"""The database of studies: opening it, reading it, locking a study, and waiting while it is away."""
