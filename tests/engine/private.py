"""A real private engine of the tests: another one with its own folder and port, next to the one that is running.

Its root is a hard-linked copy of the shared engine's, so that tests spend no time on creating it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ohbuild.engine.state import Layout
from tests.ports import free_ports

_HERE = Path(__file__).parent


class Private:
    """A private engine of the tests, controlled through the command line."""

    def __init__(self, folder: Path, port: int, home: Path) -> None:
        self.layout = Layout(folder, port)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "BUILDX_"))},
            "OHBUILD_ENGINE": "ohbuild",
            "OHBUILD_ENGINE_DIR": str(folder),
            "OHBUILD_ENGINE_REGISTRY_PORT": str(port),
            "HOME": str(home),
            "PYTHONPATH": str(_HERE.parent.parent),
        }

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Starts `ohbuild engine …`."""
        return subprocess.Popen(
            [sys.executable, "-m", "ohbuild", "engine", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd=_HERE.parent.parent,
        )

    def __call__(self, *words: str | Path, code: int = 0) -> tuple[str, str]:
        """Runs `ohbuild engine …` and returns its standard output and error."""
        with self.start(*words) as command:
            out, err = command.communicate(timeout=300)
        assert command.returncode == code, (command.returncode, out, err)
        assert "Traceback" not in err
        return out, err

    def docker(self, *words: str) -> str:
        """Runs the engine's docker command and returns its output."""
        env = {**self.env, "DOCKER_HOST": self.layout.host, "DOCKER_CONFIG": str(self.layout.client)}
        done = subprocess.run(
            [str(self.layout.bin / "docker"), *words], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextlib.contextmanager
def private_engine(shared_root: Path, home: Path) -> Iterator[Private]:
    """Provides the folder of a private engine within the context; nothing is started."""
    folder = Path(tempfile.mkdtemp(prefix="ohbuild-test-", dir=shared_root.parent.parent))
    made = Private(folder, free_ports(), home)
    made.layout.marker.touch()
    try:
        yield made
    finally:
        made("remove")
        assert not folder.exists()
