"""CK4: the element types of weights and scales."""
