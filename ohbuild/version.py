"""The version of ohbuild; hatchling reads it for the wheel."""

__version__ = "0.1.0"
