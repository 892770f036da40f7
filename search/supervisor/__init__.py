"""The supervisor of one command: starts its workers, watches them, replaces those that die, and ends them."""
