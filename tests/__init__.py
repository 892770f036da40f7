"""Tests: a folder for each room of maskcls and search; commands/ types what a user does."""
