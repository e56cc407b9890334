"""The Hub: remote reading, guarded uploads, hooks, cards; everything against a Hub on loopback."""
