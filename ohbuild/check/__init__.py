"""Checks whether bases are usable."""
