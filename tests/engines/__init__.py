"""What is known about engines, as data."""
