"""CK3: the shapes of weights and scales."""
