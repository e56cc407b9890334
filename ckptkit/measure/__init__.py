"""How far values are from what they were made of: the figures after a lossy change, and between two checkpoints."""
