"""Runs when our Python starts. Changes attributes, and variables that Python has set or that pip must not see."""

import os
import site
import sys

import _openhands

# Nothing below /openhands is written at run time. The code there is compiled already, but when run as root, a few
# packages (beartype) would add their own kind of byte code.
sys.dont_write_bytecode = True

# Packages installed by the user take precedence over ours, as with any Python.
site.USER_BASE = _openhands.user_base()
site.USER_SITE = f"{site.USER_BASE}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
if site.ENABLE_USER_SITE and site.USER_SITE not in sys.path and os.path.isdir(site.USER_SITE):
    path = sys.path[:]
    site.addsitedir(site.USER_SITE)
    first = next((index for index, folder in enumerate(path) if folder.endswith("-packages")), len(path))
    sys.path[:] = [*path[:first], *sys.path[len(path) :], *path[first:]]

# In the C locale, Python sets LC_CTYPE for itself and its children (PEP 538). The children must see the base's value
# instead, which is still in the process's initial environment.
if os.environ.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
    try:
        with open("/proc/self/environ", "rb") as stream:
            if not any(entry.startswith(b"LC_CTYPE=") for entry in stream.read().split(b"\0")):
                del os.environ["LC_CTYPE"]
    except OSError:
        pass

# pip sets PYTHONPATH for build backends and so runs them without -E. They must not see the base's PYTHON* variables.
if sys.flags.ignore_environment:
    words = [word for word in sys.orig_argv[1:] if not word.startswith("-")]
    if words and os.path.basename(words[0]) in ("pip", "pip3", "pip3.13"):
        for name in [name for name in os.environ if name.startswith("PYTHON")]:
            del os.environ[name]
