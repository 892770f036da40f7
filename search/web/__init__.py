"""The dashboard's server: who is let in, by which names, with which headers."""
