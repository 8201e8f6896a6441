"""Our Python's start-up: nothing below /openhands is written at run time.

What is there is compiled already; a few packages (beartype) would add byte code of their own kind when run as root.
An attribute and not PYTHONDONTWRITEBYTECODE, which the programs that an agent starts would inherit.
"""

import sys

sys.dont_write_bytecode = True
