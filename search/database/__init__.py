"""The database of studies: opened, read, locked, and waited for when it is away."""
