"""ohbuild puts a complete AI-agent runtime into any container image, with BuildKit."""

__version__ = "0.1.0"
