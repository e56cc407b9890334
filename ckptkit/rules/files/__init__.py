"""CK1: files, headers, the index, and what the model promises to hold."""
