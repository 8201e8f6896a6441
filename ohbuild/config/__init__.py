"""The settings, and where each came from."""
