"""buildx's drivers, each with a real BuildKit, for the one contract that ``test_drivers.py`` asks of all of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ohbuild.builders import DockerBuilder
from ohbuild.builders.buildx import BuildxBuilder
from ohbuild.builders.kubernetes import KubernetesBuilder
from ohbuild.docker.connection import Connection
from tests.engine.bridge import bridge, port_bridge
from tests.engine.contexts import SETTINGS, make_context
from tests.engine.kubernetes_api import serve
from tests.engine.places import own_client
from tests.engine.runtime import docker


@dataclass(frozen=True)
class Place:
    """A driver that is ready to be used.

    Attributes:
        client: The engine, with a client's folder of the test's own.
        make: Makes a builder; options go to its class.
    """

    client: Connection
    make: Callable[..., BuildxBuilder]


@dataclass(frozen=True)
class Driver:
    """One of buildx's drivers.

    Attributes:
        name: As in ``docker buildx create --driver``.
        ready: Makes it ready, with a folder for what it keeps.
        lacks: What it does not support → why.
    """

    name: str
    ready: Callable[[Connection, Path], AbstractContextManager[Place]]
    lacks: Mapping[str, str] = field(default_factory=dict)


def _socket(engine: Connection) -> Path:
    assert engine.host is not None
    return Path(engine.host.removeprefix("unix://"))


@contextmanager
def _docker(engine: Connection, folder: Path) -> Iterator[Place]:
    client = replace(engine, config_dir=own_client(engine, folder))
    yield Place(client, lambda **options: DockerBuilder(**_options(client, options, builder="default")))


# What buildx runs in the container of its driver `docker-container`: BuildKit, and `buildctl` to wait for it and to
# connect to it. No image of BuildKit can be had where these tests run, so this one leads to Docker's own BuildKit.
_BUILDKITD = "#!/bin/sh\nexec sleep 1d\n"
_BUILDCTL = '#!/bin/sh\n[ "$1" != dial-stdio ] || exec nc 127.0.0.1 {port}\n'
_IMAGE = ("FROM alpine:3.23", "COPY --chmod=755 buildkitd buildctl /usr/bin/", 'ENTRYPOINT ["buildkitd"]')


@contextmanager
def _container(engine: Connection, folder: Path) -> Iterator[Place]:
    client = replace(engine, config_dir=own_client(engine, folder))
    name = f"test-{uuid.uuid4().hex[:12]}"
    with port_bridge(_socket(engine)) as port:
        context = make_context(folder / "buildkit", *_IMAGE)
        (context / "buildkitd").write_text(_BUILDKITD)
        (context / "buildctl").write_text(_BUILDCTL.format(port=port))
        docker(client, "build", "--quiet", "--load", "--tag", name, str(context))
        options = ("--driver-opt", f"image={name},network=host")
        docker(client, "buildx", "create", "--name", name, "--driver", "docker-container", *options)
        try:
            yield Place(client, lambda **options: DockerBuilder(**_options(client, options, builder=name)))
        finally:
            docker(client, "buildx", "rm", "--force", name)
            docker(client, "image", "rm", "--force", name)


@contextmanager
def _remote(engine: Connection, folder: Path) -> Iterator[Place]:
    client = replace(engine, config_dir=own_client(engine, folder))
    with bridge(_socket(engine), Path(f"/run/ohbuild/{uuid.uuid4().hex[:8]}.sock")) as address:
        docker(client, "buildx", "create", "--name", "far", "--driver", "remote", address)
        yield Place(client, lambda **options: DockerBuilder(**_options(client, options, builder="far")))


@contextmanager
def _kubernetes(engine: Connection, folder: Path) -> Iterator[Place]:
    client = replace(engine, config_dir=own_client(engine, folder))
    given = {"kubeconfig": folder / "kubeconfig", "timeout": 30}
    with serve(_socket(engine), folder):
        yield Place(
            client, lambda **options: KubernetesBuilder(options=given, **_options(client, options, builder="pods"))
        )


def _options(client: Connection, options: dict[str, Any], *, builder: str) -> dict[str, Any]:
    return {"settings": SETTINGS, "push": True, "connect": lambda: client, "builder": builder, **options}


DRIVERS = (
    Driver("docker", _docker),
    Driver("docker-container", _container, {"load platforms": "buildx loads one platform at a time"}),
    Driver("remote", _remote, {"load platforms": "buildx loads one platform at a time"}),
    Driver(
        "kubernetes",
        _kubernetes,
        {
            "load": "pods have no store of the user's",
            "load platforms": "as for load",
            "stop": "buildx before 0.36 waits 30 s after a stop; kubernetes/test_failures.py has one that does",
        },
    ),
)


def supporting(*features: str) -> list[Driver]:
    """The drivers that lack none of these."""
    return [driver for driver in DRIVERS if not driver.lacks.keys() & {*features}]
