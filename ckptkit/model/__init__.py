"""The canonical FP8 tensor model: what every format's reader makes and every writer takes."""
