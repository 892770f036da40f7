"""The parts of an answer as plain values: estimates with their intervals, rounds, and several models together."""
