"""CK9: the KV cache."""
