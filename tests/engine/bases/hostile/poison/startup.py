"""PYTHONSTARTUP: an interpreter that runs it is gone."""

import os

os._exit(3)
