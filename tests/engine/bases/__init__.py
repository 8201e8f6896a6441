"""Bases of the matrix that are not published: a folder with a Dockerfile each, built once into the registry."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from ohbuild.docker.connection import Connection
from ohbuild.engine.debian import EPOCH

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
ALPINE = ROOT / ".tools/alpine-3.23.tar"


def registry_of(engine: Connection) -> str:
    """Returns the address (``host:port``) of a registry that the engine can push to; empty if there is none."""
    return os.environ.get("OHBUILD_TEST_REGISTRY") or engine.registry or ""


def reference(engine: Connection, name: str) -> str:
    """Returns the reference of a base in the registry. Its tag is a hash of its folder; ``debian:…`` is unchanged."""
    if ":" in name:
        return name
    digest = hashlib.sha256()
    for path in sorted((FOLDER / name).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(FOLDER)}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    return f"{registry_of(engine)}/matrix/{name}:{digest.hexdigest()[:12]}"


def ensure(engine: Connection, name: str) -> str:
    """Builds a base, and what it is built from, unless the registry has it. Returns its reference."""
    image = reference(engine, name)
    if image == "alpine:3.23":
        _ohbuild(engine, "engine", "seed", image, "--from", str(_alpine()))
    elif image.startswith("debian:"):
        _ohbuild(engine, "engine", "seed", image, "--platform", "linux/amd64")
    elif not _there(engine, image):
        for other in re.findall(r"^FROM (\S+:\S+)", (FOLDER / name / "Dockerfile").read_text(), re.MULTILINE):
            ensure(engine, other)
        # Not stored in Docker too, and with fixed timestamps, so that the same packages give the same layer.
        output = "--output=type=image,push=true,store=false,rewrite-timestamp=true"
        words = ["buildx", "build", "--provenance=false", "--platform", "linux/amd64", "--tag", image, output]
        _run([str(engine.docker), *words, str(FOLDER / name)], engine, SOURCE_DATE_EPOCH=str(EPOCH))
    return image


def _alpine() -> Path:
    if not ALPINE.exists():
        subprocess.run([ROOT / "tests/engine/alpine-rootfs.sh", ALPINE], check=True)
    return ALPINE


def _there(engine: Connection, image: str) -> bool:
    words = [str(engine.docker), "buildx", "imagetools", "inspect", "--raw", image]
    environment = {**os.environ, **engine.environment()}
    return subprocess.run(words, env=environment, capture_output=True, check=False).returncode == 0


def _ohbuild(engine: Connection, *words: str) -> None:
    _run([sys.executable, "-m", "ohbuild", *words], engine)


def _run(command: list[str], engine: Connection, **variables: str) -> None:
    environment = {**os.environ, **engine.environment(), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-3000:]}"
