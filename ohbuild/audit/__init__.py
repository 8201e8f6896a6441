"""Reads and audits what is below ``/openhands`` in a finished image."""
