"""Our Python's start-up. What it changes are attributes, or variables that Python itself has set."""

import os
import site
import sys

import _openhands

# Nothing below /openhands is written at run time. What is there is compiled already; a few packages (beartype) would
# add byte code of their own kind when run as root.
sys.dont_write_bytecode = True

# What the user installs comes before what is here, as with any Python.
site.USER_BASE = _openhands.user_base()
site.USER_SITE = f"{site.USER_BASE}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
if site.ENABLE_USER_SITE and site.USER_SITE not in sys.path and os.path.isdir(site.USER_SITE):
    path = sys.path[:]
    site.addsitedir(site.USER_SITE)
    first = next((index for index, folder in enumerate(path) if folder.endswith("-packages")), len(path))
    sys.path[:] = [*path[:first], *sys.path[len(path) :], *path[first:]]

# In the C locale Python sets LC_CTYPE, for its children too (PEP 538); they are to see what the base says, which is
# still in the block of variables that the process began with.
if os.environ.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
    try:
        with open("/proc/self/environ", "rb") as stream:
            if not any(entry.startswith(b"LC_CTYPE=") for entry in stream.read().split(b"\0")):
                del os.environ["LC_CTYPE"]
    except OSError:
        pass

# pip runs build backends without -E, as it gives them a PYTHONPATH: the base's values are not for them.
if sys.flags.ignore_environment:
    words = [word for word in sys.orig_argv[1:] if not word.startswith("-")]
    if words and os.path.basename(words[0]) in ("pip", "pip3", "pip3.13"):
        for name in [name for name in os.environ if name.startswith("PYTHON")]:
            del os.environ[name]
