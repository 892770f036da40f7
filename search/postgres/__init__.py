"""A PostgreSQL server for a team that has none: its programs, its folder, its data, and the running server."""
