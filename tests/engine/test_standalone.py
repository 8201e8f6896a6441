"""A standalone BuildKit with nothing but the registry cache: a runtime for a new base moves no layer.

The address comes from OHBUILD_TEST_BUILDKIT (``unix:///…/buildkitd.sock``, ``tcp://…``), as buildx's remote driver
takes it. That BuildKit is **emptied** by these tests, has to reach the engine's registry under the engine's name for
it (``localhost:5000``) over http, and to take it as its mirror of Docker Hub. The tests read the registry's access log.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ohbuild.engine import Connection
from ohbuild.errors import ExitCode
from ohbuild.job import Job, Result, prepare
from ohbuild.model import ImageRef
from ohbuild.registry import Registry
from ohbuild.report import as_data, exit_code
from ohbuild.settings import Settings, load
from tests.engine.baked import ROOT, Baked
from tests.fakes import FAKES, fake_root

ADDRESS = os.environ.get("OHBUILD_TEST_BUILDKIT", "")
SECONDS = 3.0

pytestmark = pytest.mark.skipif(not ADDRESS, reason="OHBUILD_TEST_BUILDKIT names no standalone BuildKit")

# Apache's combined format, as the registry writes it.
LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<url>\S+) HTTP/[0-9.]+" (?P<status>\d{3}) ')


@dataclass(frozen=True)
class Request:
    """One line of the registry's access log."""

    method: str
    path: str
    query: dict[str, list[str]]
    status: int

    @property
    def digest(self) -> str:
        """The blob that it moves (downloads, uploads), or an empty string."""
        if self.method == "GET" and "/blobs/sha256:" in self.path:
            return self.path.rpartition("/")[2]
        if self.method in ("PUT", "POST") and "/blobs/uploads/" in self.path:
            return "".join(self.query.get("digest", []))
        return ""

    @property
    def mounted(self) -> bool:
        """Whether the registry took a blob over from another repository."""
        return self.method == "POST" and "mount" in self.query and self.status == 201


def requests(text: str) -> list[Request]:
    """The requests of a piece of the log."""
    found = []
    for match in LINE.finditer(text):
        url = urlsplit(match["url"])
        found.append(Request(match["method"], url.path, parse_qs(url.query), int(match["status"])))
    return found


@dataclass(frozen=True)
class Standalone:
    """A remote builder of a temporary name, known in a temporary configuration only."""

    connection: Connection
    name: str

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [str(self.connection.docker), "buildx", *words],
            env={**os.environ, **self.connection.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def empty(self) -> None:
        """Forget everything: layers, cache, and what it knows about blobs."""
        self("prune", "--all", "--force", "--builder", self.name)
        left = self("du", "--builder", self.name)
        assert re.search(r"^Total:\s+0B$", left, re.MULTILINE), left


@pytest.fixture(scope="module")
def standalone(engine: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """The BuildKit of OHBUILD_TEST_BUILDKIT as a buildx builder that is gone after the tests."""
    folder = tmp_path_factory.mktemp("docker-config")
    own = engine.config_dir or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    for name in ("cli-plugins", "config.json"):
        if (own / name).exists():
            (folder / name).symlink_to(own / name)
    host = engine.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    builder = Standalone(replace(engine, config_dir=folder, host=host), f"ohbuild-test-{uuid.uuid4().hex[:8]}")
    builder("create", "--name", builder.name, "--driver", "remote", ADDRESS)
    yield builder
    builder("rm", builder.name)


@pytest.fixture
def place(engine: Connection) -> str:
    """A folder of repositories of this test's own, in the engine's registry."""
    assert engine.registry
    return f"{engine.registry}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def new_base(engine: Connection, place: str, tmp_path: Path) -> Callable[[str], str]:
    """Pushes a base that no builder but the engine's own has seen."""

    def make(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "os-release").write_text(f"NAME={place}/{name}\n")
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY os-release /etc/\nENV PATH=/usr/bin:/bin\n")
        words = ["buildx", "build", "--quiet", "--provenance=false", "--platform=linux/amd64,linux/arm64"]
        done = subprocess.run(
            [str(engine.docker), *words, "--output=type=registry", "--tag", f"{place}/{name}:1", str(folder)],
            env={**os.environ, **engine.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return f"{place}/{name}:1"

    return make


def layers(results: list[Result]) -> set[str]:
    """The layers of all images and platforms of a run, the bases' included."""
    found: set[str] = set()
    with closing(Registry()) as registry:
        for result in results:
            for platform in result.target.platforms:
                found.update(registry.layers(ImageRef.parse(result.tags[0]), platform))
    return found


def bake_without_layers(job: Job, log: Path) -> float:
    """Bakes and asserts that the registry was asked for no layer and given none; returns the seconds it took."""
    before = log.stat().st_size
    start = time.monotonic()
    results = job.run(lambda event: None)
    seconds = time.monotonic() - start
    assert exit_code(results) == ExitCode.OK, [str(result.outcome.error) for result in results]
    time.sleep(0.2)  # the log is written after the answer
    with log.open("rb") as stream:
        stream.seek(before)
        seen = requests(stream.read().decode())
    ours = layers(results)
    assert [request for request in seen if request.method == "PUT"], "the log shows no push: is it this registry's?"
    moved = [request for request in seen if request.digest in ours]
    assert not moved, moved
    # What was uploaded is the configs and nothing else: each PUT of a blob ends an upload.
    put = {request.digest for request in seen if request.method == "PUT" and request.digest}
    patches = [request for request in seen if request.method == "PATCH"]
    assert not put & ours
    assert len(patches) <= len(put), (patches, put)
    mounted = sum(request.mounted for request in seen)
    print(f"\n{seconds:.2f} s, {len(ours)} layers, {mounted} mounts, {len(put)} configs uploaded, {len(seen)} requests")
    return seconds


def quickest(attempt: Callable[[int], float], attempts: int = 3) -> float:
    """The best time of up to three attempts: what else this machine does is no matter of the build's."""
    best = attempt(1)
    for number in range(2, attempts + 1):
        if best < SECONDS:
            break
        best = min(best, attempt(number))
    return best


def test_a_new_base_on_an_empty_builder_moves_no_layer(
    engine: Connection,
    standalone: Standalone,
    registry_log: Path,
    new_base: Callable[[str], str],
    place: str,
    tmp_path: Path,
) -> None:
    """With small components of 8 MB that does not compress, so that a transfer would be no trifle."""
    root = fake_root(tmp_path / "root", seed=place)
    (root / "dockerfiles" / "python" / "noise").write_bytes(os.urandom(8_000_000))

    def job(base: str, connection: Connection, builder: str, image: str = "runtime") -> Job:
        values: dict[str, Any] = {"bases": [base], "image": f"{place}/{image}", "build_image": base, "builder": builder}
        values |= {"platforms": "linux/amd64,linux/arm64", "ca_bundle": "off", "folder": tmp_path / "rendered"}
        return prepare(Settings(**values), known=FAKES, root=root, connect=lambda: connection)

    first = job(new_base("first"), engine, "").run(lambda event: None)
    assert exit_code(first) == ExitCode.OK, as_data(first)

    def attempt(number: int) -> float:
        standalone.empty()
        # Into a repository that holds no layer yet: they are mounted from the cache's.
        new = job(new_base(f"new-{number}"), standalone.connection, standalone.name, f"runtime-{number}")
        return bake_without_layers(new, registry_log)

    assert quickest(attempt) < SECONDS


def test_the_real_runtime_for_a_new_base_moves_no_layer(
    baked: Baked, standalone: Standalone, registry_log: Path, new_base: Callable[[str], str], tmp_path: Path
) -> None:
    """All components, both platforms, from the cache that `make bake` left in the registry."""

    def attempt(number: int) -> float:
        flags = {"bases": [new_base(f"real-{number}")], "builder": standalone.name, "folder": tmp_path / "rendered"}
        standalone.empty()
        settings = load(flags, config=ROOT / "ohbuild.toml").settings
        return bake_without_layers(prepare(settings, connect=lambda: standalone.connection), registry_log)

    assert quickest(attempt) < SECONDS
