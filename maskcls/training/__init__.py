"""The training loop, and what it settles before: numerics, schedule, the folder that it writes into."""
