"""Renderers of reports, plans, summaries and comparisons."""
