"""The images of `make bake`, for the tests: built once per test run, which is quick if they exist already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.choice import choose
from ohbuild.docker.connection import Connection

ROOT = Path(__file__).parents[2]
COMPONENTS = choose(BUILTIN).components
"""The components of the images of `make bake`."""


@dataclass(frozen=True)
class Baked:
    """The report of a bake (``ohbuild bake --json``) by target."""

    targets: dict[str, dict[str, Any]]

    def target(self, base: str | None) -> dict[str, Any]:
        """Returns the entry of a base's runtime image, or of the deps image for ``None``."""
        return next(target for target in self.targets.values() if target["base"] == base)

    def image(self, base: str | None) -> str:
        """Returns the moving tag of a base's runtime image, or of the deps image for ``None``."""
        tag: str = self.target(base)["tags"][0]
        return tag


def ohbuild(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs an ``ohbuild`` command in the checkout."""
    command = [sys.executable, "-m", "ohbuild", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def bake(engine: Connection, *arguments: str, folder: Path = ROOT) -> Baked:
    """Runs ``ohbuild bake`` as a user would, by default in the checkout with its example settings."""
    command = [sys.executable, "-m", "ohbuild", "bake", "--json", *arguments]
    environment = {**os.environ, **engine.environment()}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Baked({target["target"]: target for target in json.loads(done.stdout)["targets"]})
