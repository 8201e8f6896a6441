"""The version, of which hatchling makes that of the wheel."""

__version__ = "0.1.0"
