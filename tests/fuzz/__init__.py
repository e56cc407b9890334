"""Inputs that nobody would write: mutated files and folders, for the suite and for long runs (``make fuzz``)."""
