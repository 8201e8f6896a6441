"""A component of /openhands that greets."""

from pathlib import Path

from ohbuild import Component

GREETING = Component.from_folder(Path(__file__).parent / "greeting")
