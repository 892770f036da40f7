"""A MariaDB server for tests and benchmarks, and studies that are copied from database to database."""
