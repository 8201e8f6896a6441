"""The variables that the packages of our servers read."""
