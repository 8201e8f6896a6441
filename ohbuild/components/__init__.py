"""The components, the choice among them, and extensions."""
