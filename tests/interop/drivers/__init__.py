"""Scripts that run inside an interop environment and report what the real library makes of a checkpoint.

They import nothing from the project under test: what they say is the library's opinion alone. Each one is a
``examine(folder, options)`` function handed to :func:`.common.main`, which does the talking.
"""
