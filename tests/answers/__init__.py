"""What ckptkit answers to systematically damaged input, word for word: ``python -m tests.answers`` records it anew."""
