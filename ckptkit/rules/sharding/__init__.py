"""CK8: blocks and tensor parallelism."""
