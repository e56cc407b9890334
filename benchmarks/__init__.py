"""How fast ckptkit is, as ratios to what bounds it (``cp``, ``cat``) and to what people use instead.

``python -m benchmarks`` builds the checkpoints, runs every contestant interleaved and prints one table. Absolute
seconds belong to one machine on one day; the ratios are what to look at.
"""
