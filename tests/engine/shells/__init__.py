"""Our shell with the start-up files that bases bring."""
