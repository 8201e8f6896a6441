"""Starts finished images and checks the contract of a runtime image."""
