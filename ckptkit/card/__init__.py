"""The model card: what it should say of a checkpoint, and whether it does."""

CARD_FILE = "README.md"
