"""Runs the command line with ``python -m ohbuild``."""

from ohbuild.cli.main import main

main()
