"""What to try next, when to stop a trial or a study, and which configurations are confirmed."""
