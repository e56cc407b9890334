"""CK6: the quantization config against tensors and loaders."""
