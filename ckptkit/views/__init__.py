"""Tables over a checkpoint and its findings: engine matrix, skip lists, the catalogue of rules."""
