"""What a study found: the answer from its evidence, in words; the state of studies, and what to export or compare."""
