"""Settings, OpenHands' configuration and flags, and where each value came from."""
