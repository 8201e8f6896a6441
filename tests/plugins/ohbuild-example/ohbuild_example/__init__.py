"""An extension of ohbuild with a component of ``/openhands`` that prints a greeting."""

from pathlib import Path

from ohbuild import Component

GREETING = Component.from_folder(Path(__file__).parent / "greeting")
