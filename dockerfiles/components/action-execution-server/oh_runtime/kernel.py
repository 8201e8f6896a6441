"""The IPython kernel: code in it sees the base's environment.

Run by the kernel gateway: ``python3.13 -EP -m oh_runtime.kernel -f CONNECTION-FILE``.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import tempfile
from pathlib import Path

from .environment import base

# What ipykernel sets so that programs neither wait for a key nor take their output for a file's.
SHOWN = (
    "TERM",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "PAGER",
    "GIT_PAGER",
    "MPLBACKEND",
    "PYDEVD_USE_FRAME_EVAL",
)
# So that a program which code in a kernel starts by it does not see the base's PYTHON* variables either.
PYTHON = "/openhands/bin/oh-python"


def reach_user_site() -> None:
    """Makes the folder for what an agent installs, which Python only looks into if it is there when it starts.

    An agent installs something and goes on in the kernel that runs already.
    """
    folder = site.USER_SITE
    if site.ENABLE_USER_SITE and folder and folder not in sys.path:
        with contextlib.suppress(OSError):
            Path(folder).mkdir(parents=True, exist_ok=True)
            first = next((index for index, name in enumerate(sys.path) if name.endswith("-packages")), len(sys.path))
            sys.path.insert(first, folder)


def main() -> None:
    """Runs the kernel until it is ended."""
    reach_user_site()
    from ipykernel.kernelapp import IPKernelApp
    from IPython.core import application

    # The base's /etc/ipython is for the base's IPython.
    application.SYSTEM_CONFIG_DIRS.clear()
    kernel = IPKernelApp.instance()
    kernel.initialize([*sys.argv[1:], "--InteractiveShellApp.exec_PYTHONSTARTUP=False"])
    # Chosen once, with our TMPDIR.
    tempfile.gettempdir()
    environ = base(os.environ, keep=SHOWN)
    os.environ.clear()
    os.environ.update(environ)
    sys.executable = PYTHON
    kernel.start()


if __name__ == "__main__":
    main()
