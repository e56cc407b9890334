"""What people run instead, as scripts for the environments that have torch and compressed-tensors."""
