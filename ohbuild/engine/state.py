"""Defines the paths of the private engine, and the record of its running daemons.

The *state folder* (default ``/var/lib/ohbuild``) survives a reboot. It holds the engine's root file system, images,
cache and logs. The *run folder* (``/run/ohbuild/<id>``) holds the socket and the record of what was started. It is
separate because the length of a socket's path is limited, and because a reboot ends the daemons.
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
    """The paths of a private engine, derived from its state folder.

    Attributes:
        dir: The state folder.
        port: Port of the registry (TCP, loopback).
    """

    dir: Path
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        """Derives the other paths."""
        # short form of the state folder, for names that must be unique on the machine
        self.id = hashlib.sha256(str(self.dir).encode()).hexdigest()[:10]
        self.marker = self.dir / "ohbuild-engine"  # distinguishes a state folder from other folders
        self.root = self.dir / "root"  # the engine's Debian root; only exists when it is complete
        self.bin = self.dir / "bin"  # docker and crane, callable on this machine
        self.config = self.dir / "config"  # configuration of the daemons
        self.client = self.dir / "client"  # DOCKER_CONFIG
        self.docker_data = self.dir / "docker"  # images, containers and build cache
        self.registry_data = self.dir / "registry"
        self.logs = self.dir / "log"
        self.access_log = self.logs / "registry-access.log"  # in Apache's combined format
        self.seeds = self.dir / "seeds.json"  # record of the seeded bases
        self.run = _RUN / self.id
        self.record = self.run / "engine.json"  # record of what was started
        self.socket = self.run / "docker.sock"  # dockerd's
        self.host = f"unix://{self.socket}"  # DOCKER_HOST
        self.registry = f"localhost:{self.port}"  # as in an image reference


def layout(environ: Mapping[str, str] | None = None) -> Layout:
    """Returns the layout configured in the environment.

    Args:
        environ: Environment variables; ``os.environ`` by default.

    Raises:
        UsageError: The configured folder or port is invalid.
    """
    env = os.environ if environ is None else environ
    text = env.get(DIR_VARIABLE) or DEFAULT_DIR
    folder = Path(os.path.normpath(text))
    if not re.fullmatch(r"(/[A-Za-z0-9._+-]+)+", str(folder)):
        raise UsageError(
            f"{DIR_VARIABLE}={text!r} is not a valid folder for the engine",
            "use an absolute path of letters, digits and . _ + -",
        )
    if folder.is_relative_to("/usr") or folder.is_relative_to("/proc") or folder.is_relative_to("/run/ohbuild"):
        raise UsageError(
            f"{DIR_VARIABLE}={text!r} is not a valid folder for the engine",
            "use a folder outside /usr, /proc and /run/ohbuild",
        )
    word = env.get(PORT_VARIABLE) or str(DEFAULT_PORT)
    if not word.isascii() or not word.isdigit() or not 0 < int(word) < 65536:
        raise UsageError(f"{PORT_VARIABLE}={word!r} is not a valid port", "use a number from 1 to 65535")
    return Layout(folder, int(word))


@dataclass(frozen=True)
class Bridge:
    """The bridge of the engine's containers.

    Attributes:
        name: Name of the interface.
        address: Its IPv4 address with the prefix length of the network (``172.20.16.1/20``).
    """

    name: str
    address: str


@dataclass(frozen=True)
class Record:
    """What ``up`` started.

    Attributes:
        port: Port of the registry.
        dockerd: Process of dockerd, if it was started.
        registry: Process of the registry, if it was started.
        bridge: The bridge that dockerd uses; None if dockerd created its own, as with older versions of ohbuild.
    """

    port: int
    dockerd: Process | None = None
    registry: Process | None = None
    bridge: Bridge | None = None


def read_record(layout: Layout) -> Record | None:
    """Returns the record, or None if nothing was started or it cannot be read."""
    data = read_json(layout.record)
    try:
        daemons = {name: Process(**data[name]) if data[name] else None for name in ("dockerd", "registry")}
        bridge = Bridge(**data["bridge"]) if data.get("bridge") else None
        return Record(port=int(data["port"]), bridge=bridge, **daemons)
    except (ValueError, KeyError, TypeError):
        return None


def write_record(layout: Layout, record: Record) -> None:
    """Writes the record atomically."""
    write_json(layout.record, asdict(record))


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; empty if the file is missing or is not a valid JSON object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_json(path: Path, data: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(data, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a text file atomically; a file that already has this text is left alone."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.touch(mode)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(layout: Layout, name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds a lock of this engine, which excludes other commands.

    The file is outside the state folder and never deleted: a lock on a deleted file excludes nobody.

    Args:
        layout: Paths of the engine.
        name: Name of the lock.
        on_wait: Called once if another command holds the lock.
    """
    _RUN.mkdir(parents=True, exist_ok=True)
    with locks.held(_RUN / f"{layout.id}.{name}.lock", on_wait):
        yield
