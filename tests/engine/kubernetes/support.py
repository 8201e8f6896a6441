"""Helpers for the tests of ``KubernetesBuilder``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ohbuild.docker.connection import Connection
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
FORBIDDEN = 'deployments.apps is forbidden: User "tester" cannot do this in the namespace "builds"'


def buildx(client: Connection, *words: str, **environment: str) -> str:
    """Runs a buildx subcommand and returns its output."""
    env = {**os.environ, **client.environment(), **environment}
    done = subprocess.run([str(client.docker), "buildx", *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_probes(deployment: dict[str, Any]) -> dict[str, Any]:
    """Returns a Deployment without the probes, because they differ between buildx versions and are not ours."""
    plain: dict[str, Any] = json.loads(json.dumps(deployment))
    for container in plain["spec"]["template"]["spec"]["containers"]:
        container.pop("readinessProbe", None)
        container.pop("livenessProbe", None)
    return plain


def pushed(reference: str) -> dict[Platform, int]:
    """Returns the platforms of an image in a registry, with their sizes."""
    with closing(Registry()) as registry:
        return dict(registry.resolve(ImageRef.parse(reference)).sizes)


def runs(step: str) -> bool:
    """Checks whether a build step is running on this machine, where the double's BuildKit is."""
    number = step.split()[1].encode()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            if number in command.read_bytes():
                return True
    return False


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.1)
