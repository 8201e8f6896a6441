"""``python -m ohbuild``."""

from ohbuild.cli.main import main

main()
