"""Starts an image and checks the contract."""
