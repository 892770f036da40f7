"""The workers of one command: started, watched, replaced and ended."""
