"""Runs the IPython kernel, in which code sees the base's environment.

Run by the kernel gateway: ``python3.13 -EP -m oh_runtime.kernel -f CONNECTION-FILE``.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import tempfile
from pathlib import Path

from oh_container.environment import base

# Set by ipykernel so that programs neither wait for a key nor treat their output as a file.
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
# sys.executable, so that programs started with it ignore the base's PYTHON* variables too.
PYTHON = "/openhands/bin/oh-python"


def reach_user_site() -> None:
    """Creates the folder for packages that an agent installs, and adds it to ``sys.path``.

    Python uses the folder only if it exists at startup, but an agent may install a package and continue in the running
    kernel.
    """
    folder = site.USER_SITE
    if site.ENABLE_USER_SITE and folder and folder not in sys.path:
        with contextlib.suppress(OSError):
            Path(folder).mkdir(parents=True, exist_ok=True)
            first = next((index for index, name in enumerate(sys.path) if name.endswith("-packages")), len(sys.path))
            sys.path.insert(first, folder)


def main() -> None:
    """Runs the kernel until it is stopped."""
    reach_user_site()
    from ipykernel.kernelapp import IPKernelApp
    from IPython.core import application

    # The base's /etc/ipython is meant for the base's IPython.
    application.SYSTEM_CONFIG_DIRS.clear()
    kernel = IPKernelApp.instance()
    kernel.initialize([*sys.argv[1:], "--InteractiveShellApp.exec_PYTHONSTARTUP=False"])
    # Python caches this, so it keeps our TMPDIR.
    tempfile.gettempdir()
    environ = base(os.environ, keep=SHOWN)
    os.environ.clear()
    os.environ.update(environ)
    sys.executable = PYTHON
    kernel.start()


if __name__ == "__main__":
    main()
