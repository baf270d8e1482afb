"""Everything that is held of one person and of nobody else, for that person (GDPR, articles 15 and 20)."""
