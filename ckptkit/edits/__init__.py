"""Edits: the language in which a checkpoint is changed, and the checkpoint as it would be."""
