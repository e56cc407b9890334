"""Everything about one checkpoint in one document, for a page to look at."""
