"""Where the private engine keeps its things, and the record of what runs.

The *state folder* (default `/var/lib/ohbuild`) survives a reboot: the engine's root file system, images, cache, logs.
The *run folder* (`/run/ohbuild/<id>`, as sockets have short paths and a reboot ends what runs) holds the socket and
the record of what was started.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ohbuild import locks
from ohbuild.errors import UsageError
from ohbuild.process import Process

DIR_VARIABLE = "OHBUILD_ENGINE_DIR"
PORT_VARIABLE = "OHBUILD_ENGINE_REGISTRY_PORT"
DEFAULT_DIR = "/var/lib/ohbuild"
DEFAULT_PORT = 5000
_RUN = Path("/run/ohbuild")


@dataclass
class Layout:
    """Every path of one private engine, from its state folder and the port (TCP, loopback) of its registry."""

    dir: Path
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        # short name of the state folder, for what has to be unique on the machine
        self.id = hashlib.sha256(str(self.dir).encode()).hexdigest()[:10]
        self.marker = self.dir / "ohbuild-engine"  # tells a state folder from any other folder
        self.root = self.dir / "root"  # the engine's own Debian root; it is there only when it is whole
        self.bin = self.dir / "bin"  # docker and crane, callable on this machine
        self.config = self.dir / "config"  # of the daemons
        self.client = self.dir / "client"  # DOCKER_CONFIG
        self.docker_data = self.dir / "docker"  # images, containers and build cache
        self.registry_data = self.dir / "registry"
        self.logs = self.dir / "log"
        self.access_log = self.logs / "registry-access.log"  # in Apache's combined format
        self.seeds = self.dir / "seeds.json"  # what was seeded
        self.run = _RUN / self.id
        self.record = self.run / "engine.json"  # of what was started
        self.socket = self.run / "docker.sock"  # dockerd's
        self.host = f"unix://{self.socket}"  # DOCKER_HOST
        self.registry = f"localhost:{self.port}"  # as in an image reference


def layout(environ: Mapping[str, str] | None = None) -> Layout:
    """The layout that the environment asks for.

    Raises:
        UsageError: the folder or the port in the environment cannot be used.
    """
    env = os.environ if environ is None else environ
    text = env.get(DIR_VARIABLE) or DEFAULT_DIR
    folder = Path(os.path.normpath(text))
    if not re.fullmatch(r"(/[A-Za-z0-9._+-]+)+", str(folder)):
        raise UsageError(
            f"{DIR_VARIABLE}={text!r} cannot be the engine's folder",
            "give an absolute path of letters, digits and . _ + -",
        )
    if folder.is_relative_to("/usr") or folder.is_relative_to("/proc") or folder.is_relative_to("/run/ohbuild"):
        raise UsageError(
            f"{DIR_VARIABLE}={text!r} cannot be the engine's folder",
            "the engine sees a /usr of its own: choose a folder elsewhere",
        )
    word = env.get(PORT_VARIABLE) or str(DEFAULT_PORT)
    if not word.isascii() or not word.isdigit() or not 0 < int(word) < 65536:
        raise UsageError(f"{PORT_VARIABLE}={word!r} is not a port", "give a number from 1 to 65535")
    return Layout(folder, int(word))


@dataclass(frozen=True)
class Record:
    """What `up` started."""

    port: int
    dockerd: Process | None = None
    registry: Process | None = None


def read_record(layout: Layout) -> Record | None:
    """The record, or None if nothing was started (or it cannot be read)."""
    data = read_json(layout.record)
    try:
        daemons = {name: Process(**data[name]) if data[name] else None for name in ("dockerd", "registry")}
        return Record(port=int(data["port"]), **daemons)
    except (ValueError, KeyError, TypeError):
        return None


def write_record(layout: Layout, record: Record) -> None:
    """Write the record, whole or not at all."""
    write_json(layout.record, asdict(record))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file that is never seen half-written."""
    write_text(path, json.dumps(data, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a text file that is never seen half-written; one that has that text already is left alone."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text() == text:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.touch(mode)
        new.write_text(text)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(layout: Layout, name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock of this engine; only one command does at a time.

    The file is outside the state folder and never deleted, as a deleted lock locks nobody out.

    Args:
        on_wait: called once if somebody else holds it.
    """
    _RUN.mkdir(parents=True, exist_ok=True)
    with locks.held(_RUN / f"{layout.id}.{name}.lock", on_wait):
        yield
