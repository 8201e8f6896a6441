"""Whether a base is usable."""
