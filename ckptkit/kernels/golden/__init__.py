"""The golden check: does this machine multiply FP8 checkpoints right?"""
