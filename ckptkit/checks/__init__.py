"""Checking: what a rule sees, the table of rules, running them, and trying fixes on what they find."""
