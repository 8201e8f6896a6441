"""Prints as JSON where a search path has some programs: which.py PATH NAME…; null for those that it has not."""

import json
import shutil
import sys

print(json.dumps({name: shutil.which(name, path=sys.argv[1] or "/nonexistent") for name in sys.argv[2:]}))
