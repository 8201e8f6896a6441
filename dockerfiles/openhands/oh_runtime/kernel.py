"""The IPython kernel: code in it sees the base's environment.

Run by the kernel gateway: ``python3.13 -EP -m oh_runtime.kernel -f CONNECTION-FILE``.
"""

from __future__ import annotations

import os
import sys

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


def main() -> None:
    """Runs the kernel until it is ended."""
    from ipykernel.kernelapp import IPKernelApp
    from IPython.core import application

    # The base's /etc/ipython is for the base's IPython.
    application.SYSTEM_CONFIG_DIRS.clear()
    kernel = IPKernelApp.instance()
    kernel.initialize([*sys.argv[1:], "--InteractiveShellApp.exec_PYTHONSTARTUP=False"])
    environ = base(os.environ, keep=SHOWN)
    os.environ.clear()
    os.environ.update(environ)
    sys.executable = PYTHON
    kernel.start()


if __name__ == "__main__":
    main()
