"""Conversion: a plan that can be printed, priced and refused before any byte moves, and its execution."""
