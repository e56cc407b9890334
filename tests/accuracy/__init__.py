"""How often verdicts are right: a corpus of checkpoints, what engines did with each, and what we said beforehand."""
