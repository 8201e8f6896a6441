"""Packages that plug into ohbuild, for tests and to look at; and how they are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def install(folder: Path, *names: str) -> Path:
    """Installs packages of this folder with pip into a folder for PYTHONPATH."""
    words = ["install", "--quiet", "--no-build-isolation", "--no-deps", "--disable-pip-version-check", "--no-compile"]
    for name in names:
        # of a copy, as a build may leave something in its folder
        copy = shutil.copytree(HERE / name, folder / "source" / name)
        command = [sys.executable, "-m", "pip", *words, "--target", str(folder / "site"), "--upgrade", str(copy)]
        subprocess.run(command, check=True)
    return folder / "site"
