"""Rules: what breaks FP8 checkpoints, one function for each, with its documentation in its docstring."""
