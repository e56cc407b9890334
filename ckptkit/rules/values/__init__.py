"""CK5: the values of scales and weights."""
