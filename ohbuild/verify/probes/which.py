"""Prints the paths of programs in a search path as JSON, null if not found: which.py PATH NAME…."""

import json
import shutil
import sys

print(json.dumps({name: shutil.which(name, path=sys.argv[1] or "/nonexistent") for name in sys.argv[2:]}))
