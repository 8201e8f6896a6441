"""Extensions of ohbuild, as examples and for tests, and how to install them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def install(folder: Path, *names: str) -> Path:
    """Installs packages from this folder with pip.

    Args:
        folder: Folder for the installation.
        names: Names of the packages.

    Returns:
        The folder to add to ``PYTHONPATH``.
    """
    words = ["install", "--quiet", "--no-build-isolation", "--no-deps", "--disable-pip-version-check", "--no-compile"]
    # From copies, because a build may leave files in its folder.
    copies = [str(shutil.copytree(HERE / name, folder / "source" / name)) for name in names]
    command = [sys.executable, "-m", "pip", *words, "--target", str(folder / "site"), "--upgrade", *copies]
    subprocess.run(command, check=True)
    return folder / "site"
