"""Where the private engine keeps its things, and the record of what runs.

The *state folder* (default `/var/lib/ohbuild`) survives a reboot: the engine's root file system, images, cache, logs.
The *run folder* (`/run/ohbuild/<id>`, as sockets have short paths and a reboot ends what runs) holds the socket and
the record of what was started.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ohbuild.engine.process import Process
from ohbuild.errors import UsageError

DIR_VARIABLE = "OHBUILD_ENGINE_DIR"
PORT_VARIABLE = "OHBUILD_ENGINE_REGISTRY_PORT"
DEFAULT_DIR = "/var/lib/ohbuild"
DEFAULT_PORT = 5000
MARKER = "ohbuild-engine"
_RUN = Path("/run/ohbuild")


@dataclass(frozen=True)
class Layout:
    """Every path of one private engine, from its state folder and the port (TCP, loopback) of its registry."""

    dir: Path
    port: int = DEFAULT_PORT

    @property
    def id(self) -> str:
        """Short name of the state folder, for what has to be unique on the machine."""
        return hashlib.sha256(str(self.dir).encode()).hexdigest()[:10]

    @property
    def root(self) -> Path:
        """The engine's own Debian root; it is there only when it is whole."""
        return self.dir / "root"

    @property
    def bin(self) -> Path:
        """docker and crane, callable on this machine."""
        return self.dir / "bin"

    @property
    def config(self) -> Path:
        """Configuration of the daemons."""
        return self.dir / "config"

    @property
    def client(self) -> Path:
        """DOCKER_CONFIG of the private engine."""
        return self.dir / "client"

    @property
    def docker_data(self) -> Path:
        """Images, containers and build cache."""
        return self.dir / "docker"

    @property
    def registry_data(self) -> Path:
        """The registry's storage."""
        return self.dir / "registry"

    @property
    def logs(self) -> Path:
        """Every log."""
        return self.dir / "log"

    @property
    def access_log(self) -> Path:
        """The registry's access log, in Apache's combined format."""
        return self.logs / "registry-access.log"

    @property
    def marker(self) -> Path:
        """Tells a state folder from any other folder."""
        return self.dir / MARKER

    @property
    def seeds(self) -> Path:
        """What was seeded (JSON)."""
        return self.dir / "seeds.json"

    @property
    def run(self) -> Path:
        """Sockets and the record."""
        return _RUN / self.id

    @property
    def socket(self) -> Path:
        """dockerd's socket."""
        return self.run / "docker.sock"

    @property
    def host(self) -> str:
        """DOCKER_HOST of the private engine."""
        return f"unix://{self.socket}"

    @property
    def registry(self) -> str:
        """Address of the registry, as in an image reference."""
        return f"localhost:{self.port}"


def layout(environ: Mapping[str, str] | None = None) -> Layout:
    """The layout that the environment asks for.

    Raises
    ------
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
    versions: Mapping[str, str] = field(default_factory=dict)


def _record_path(layout: Layout) -> Path:
    return layout.run / "engine.json"


def read_record(layout: Layout) -> Record | None:
    """The record, or None if nothing was started (or it cannot be read)."""
    try:
        data = json.loads(_record_path(layout).read_text())
        daemons = {name: Process(**data[name]) if data[name] else None for name in ("dockerd", "registry")}
        return Record(port=int(data["port"]), versions=dict(data["versions"]), **daemons)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(layout: Layout, record: Record) -> None:
    """Write the record, whole or not at all."""
    write_json(_record_path(layout), asdict(record))


def drop_record(layout: Layout) -> None:
    """Forget what was started."""
    _record_path(layout).unlink(missing_ok=True)


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
    except BaseException:
        new.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def lock(layout: Layout, name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock of this engine; only one command does at a time.

    The file is outside the state folder and never deleted, as a deleted lock locks nobody out.

    Parameters
    ----------
    on_wait: called once if somebody else holds it.
    """
    _RUN.mkdir(parents=True, exist_ok=True)
    with (_RUN / f"{layout.id}.{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            while True:  # by hand, as flock(2) does not return to Python for Ctrl-C handlers set elsewhere
                time.sleep(0.1)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
        yield
