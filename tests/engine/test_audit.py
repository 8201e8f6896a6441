"""The closure audit on real images and on a broken one: during the build, and on the finished image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import prepare
from ohbuild.cli.report import exit_code
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.errors import AuditFailed, ExitCode
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.engine.baked import COMPONENTS, Baked
from tests.engine.broken import LIBRARY, crane, without
from tests.engine.runtime import docker
from tests.engine.test_check import Log, digests

TMUX = f"/openhands/bin/tmux: {LIBRARY.rpartition('/')[2]} is not below /openhands"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, so that no layer is known yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def audit(engine: Connection, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Runs `ohbuild audit --json` and returns its exit code and images."""
    command = [sys.executable, "-m", "ohbuild", "audit", "--json", *arguments]
    environment = {**os.environ, **engine.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (ExitCode.OK, ExitCode.BUILD_FAILED), done.stderr
    return done.returncode, json.loads(done.stdout)["images"]


# Runs a command and prints the resident memory of the largest process that it had, in KiB.
_MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def peak_memory(engine: Connection, *arguments: str) -> int:
    """Runs `ohbuild audit` and returns its peak resident memory in KiB."""
    command = [sys.executable, "-c", _MEASURED, sys.executable, "-m", "ohbuild", "audit", *arguments]
    environment = {**os.environ, **engine.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.OK, done.stderr
    return int(done.stderr.splitlines()[-1])


def problems(image: dict[str, Any]) -> list[str]:
    return [f"{finding['file']}: {finding['problem']}" for finding in image["findings"]]


def test_the_images_of_make_bake_are_closed(engine: Connection, baked: Baked) -> None:
    images = [baked.image(base) for base in ("debian:trixie", "alpine:3.23")]
    code, found = audit(engine, *images)
    assert [(image["image"], image["platform"]) for image in found] == [
        (images[0], "linux/amd64"),
        (images[0], "linux/arm64"),
        (images[1], "linux/amd64"),
    ]
    assert [problems(image) for image in found] == [[], [], []]
    assert code == ExitCode.OK
    for image in found:
        assert image["files"] > 30_000
        assert image["elf_files"] > 500
        assert image["size"] > 1_000_000_000
    assert found[0]["layers"] == found[2]["layers"]


@pytest.mark.usefixtures("cache")
def test_a_layer_is_read_once_and_a_hidden_base_never(
    engine: Connection, baked: Baked, registry_log: Path, tmp_path: Path
) -> None:
    # Copies, so that the log has no requests from elsewhere.
    place = f"test-audit-{uuid.uuid4().hex[:12]}"
    names = [f"{engine.registry}/{place}/runtime:{number}" for number in range(2)]
    for base, name in zip(("debian:trixie", "alpine:3.23"), names, strict=True):
        crane(engine, "copy", "--platform", "linux/amd64", baked.image(base), name)
    with closing(Registry()) as registry:
        one, two = (set(registry.layers(ImageRef.parse(name), Platform.parse("linux/amd64"))) for name in names)
    ours, bases = one & two, one ^ two
    assert len(ours) > len(COMPONENTS)
    assert bases
    log = Log(registry_log, place)
    start = time.monotonic()
    memory = peak_memory(engine, *names)
    seconds = time.monotonic() - start
    asked = digests(log.requests(), "blobs")
    assert {digest: asked[digest] for digest in ours} == dict.fromkeys(ours, 1)
    assert not asked.keys() & bases
    assert memory < 300 << 10, "a single file has 200 MB"
    log = Log(registry_log, place)
    assert audit(engine, *names)[0] == ExitCode.OK
    assert not digests(log.requests(), "blobs").keys() & (ours | bases)
    print(f"\n{seconds:.1f} s, {memory >> 10} MB")


def test_a_library_removed_from_a_finished_image_is_named(engine: Connection, baked: Baked, tmp_path: Path) -> None:
    image = baked.image("alpine:3.23")
    broken = without(engine, image, LIBRARY, f"{image.rpartition(':')[0]}:broken", tmp_path)
    code, (found,) = audit(engine, broken)
    assert (code, problems(found)) == (ExitCode.BUILD_FAILED, [TMUX])


def test_an_image_that_only_docker_has(engine: Connection, tmp_path: Path) -> None:
    for file, mode in {"open": 0o666, "run": 0o755}.items():
        (tmp_path / file).write_text("#!/bin/sh\n")
        (tmp_path / file).chmod(mode)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY open /openhands/\nCOPY run /openhands/sub/\n")
    name = "ohbuild-test-audit/local:1"
    docker(engine, "buildx", "build", "--quiet", "--load", "--tag", name, str(tmp_path))
    try:
        code, (found,) = audit(engine, name)
    finally:
        docker(engine, "image", "rm", name)
    assert (code, found["image"]) == (ExitCode.BUILD_FAILED, name)
    assert problems(found) == [
        "/openhands/open: is world-writable",
        "/openhands/sub/run: interpreter /bin/sh is outside /openhands",
    ]


def test_a_library_removed_in_the_build_fails_it(engine: Connection, tmp_path: Path) -> None:
    """Uses a copy of tmux's folder that loses a library between collection and audit."""
    core, tmux = BUILTIN[:2]
    assert tmux.folder is not None
    broken = replace(tmux, folder=shutil.copytree(tmux.folder, tmp_path / "tmux"))
    text = tmux.template.read_text()
    seal = "    python3 -m relocate seal\n"
    assert text.count(seal) == 1
    broken.template.write_text(text.replace(seal, f"    rm {LIBRARY}\n{seal}"))
    values: dict[str, Any] = {
        "components": ["tmux"], "platforms": "linux/amd64,linux/arm64", "folder": tmp_path / "rendered",
        "cache_to": "off", "output": "push" if engine.registry else "load",
    }  # fmt: skip
    prepared = prepare(Settings(**values), known=(core, broken), connect=lambda: engine, deps_only=True)
    (result,) = prepared.run(lambda event: None)
    assert isinstance(result.outcome.error, AuditFailed)
    assert TMUX in result.outcome.error.message
    assert exit_code([result]) == ExitCode.BUILD_FAILED
