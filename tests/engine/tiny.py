"""Bakes components that build in a second (tests/fakes.py) on tiny bases."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Sequence
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from ohbuild.bake.job import Job, Result, prepare
from ohbuild.cli.report import exit_code, print_error
from ohbuild.components.component import Component
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.errors import ExitCode
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image, Registry
from tests.fakes import FAKES

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


class Docker:
    """Runs docker commands as a user of this engine would."""

    def __init__(self, engine: Connection) -> None:
        self.engine = engine

    def __call__(self, *words: str, cwd: Path | None = None, stdin: str | None = None) -> str:
        done = subprocess.run(
            [str(self.engine.docker), *words],
            env={**os.environ, **self.engine.environment()},
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def base(self, name: str, tmp_path: Path, platforms: str = "linux/amd64,linux/arm64") -> str:
        """Builds and pushes a tiny base, and returns its name."""
        folder = tmp_path / f"base-{uuid.uuid4().hex[:6]}"
        folder.mkdir()
        (folder / "os-release").write_text(f"NAME={name}\n")
        (folder / "Dockerfile").write_text(
            "FROM scratch\nCOPY os-release /etc/\nENV PATH=/base/bin\nUSER 1234\nWORKDIR /w\n"
        )
        words = ["buildx", "build", "--quiet", "--provenance=false", "--platform", platforms, "--tag", name]
        self(*words, "--output=type=registry", str(folder))
        return name


def job(
    engine: Connection,
    tmp_path: Path,
    known: Sequence[Component] | None = None,
    *,
    deps_only: bool = False,
    **settings: Any,
) -> Job:
    values = {"folder": tmp_path / "rendered", "platforms": "linux/amd64,linux/arm64", "ca_bundle": "off", **settings}
    # Only the real components need a build image, so any existing image will do.
    values.setdefault("build_image", values.get("bases", ["debian:trixie"])[0])
    return prepare(
        Settings(**values),
        known=known or FAKES,
        connect=lambda: engine,
        deps_only=deps_only,
    )


def run(prepared: Job) -> list[Result]:
    return prepared.run(lambda event: None)


def succeeded(prepared: Job) -> list[Result]:
    """Runs a job that must succeed. If it does not, the test shows the errors as a user sees them."""
    results = run(prepared)
    shown = StringIO()
    console = Console(file=shown, width=200)
    for result in results:
        if result.outcome.error:
            print_error(console, result.outcome.error, result.target.name)
    assert exit_code(results) == ExitCode.OK, shown.getvalue()
    return results


def layers(image: str, platform: Platform) -> tuple[str, ...]:
    with closing(Registry()) as registry:
        return registry.layers(ImageRef.parse(image), platform)


def inspect(image: str) -> Image:
    with closing(Registry()) as registry:
        return registry.inspect(ImageRef.parse(image))
