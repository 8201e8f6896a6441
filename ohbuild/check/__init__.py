"""Whether a base will do."""
