"""CK2: the names of tensors."""
