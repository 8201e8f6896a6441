"""``python -m ohbuild``."""

from ohbuild.cli import main

main()
