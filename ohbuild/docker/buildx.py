"""Runs ``docker buildx`` and inspects builders and local images.

python-on-whales supplies the client's command line, information about the engine and the size of images. Its
``buildx.bake()`` is not used: it cannot set the working folder, to which paths in a bake file are relative, cannot
stream rawjson while keeping the metadata, and cannot distinguish SIGINT from a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.docker.described import parse
from ohbuild.docker.exporters import Exporter
from ohbuild.docker.nodes import said
from ohbuild.docker.progress import Progress
from ohbuild.docker.registries import of_docker, of_nodes
from ohbuild.docker.supervise import STOP_WITHIN, Listener, feed
from ohbuild.errors import Interrupted, NoEngine, OhbuildError
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry_config import Registries
from ohbuild.signals import signals_interrupt

if TYPE_CHECKING:
    from python_on_whales import DockerClient

_PATIENCE = 60.0  # seconds; buildx itself waits 20 for a builder's nodes


@dataclass(frozen=True, kw_only=True)
class Builder:
    """A buildx builder.

    Attributes:
        name: Name of the builder.
        driver: ``docker``, ``docker-container``, ``kubernetes`` or ``remote``.
        image_store: Whether Docker uses containerd's image store; always true for other drivers.
        registries: How it reaches registries.
    """

    name: str
    driver: str
    image_store: bool
    registries: Registries = field(default_factory=Registries)

    @property
    def exporter(self) -> Exporter:
        """What it can export."""
        return Exporter(driver=self.driver, image_store=self.image_store)


class Buildx:
    """Runs buildx with one engine and one of its builders.

    Args:
        connection: How to reach the engine.
        builder: Name of the builder; the current builder if empty.
    """

    def __init__(self, connection: Connection, builder: str = "") -> None:
        self.connection = connection
        self.builder = builder

    @cached_property
    def _client(self) -> DockerClient:
        from python_on_whales import DockerClient  # half a second of CPU, not needed for `check` and help

        connection = self.connection
        return DockerClient(config=connection.config_dir, host=connection.host, client_call=[str(connection.docker)])

    def describe(self) -> Builder:
        """Inspects the builder.

        Raises:
            NoEngine: The builder does not exist or does not respond.
        """
        answer = self._ask("buildx", "inspect", *self._builder_flag())
        found = parse(answer.out)
        name, driver = found.name, found.driver
        if not answer.ok or not driver or found.error:
            hint = "see `docker buildx ls`" if self.builder else "start one with `ohbuild engine up`"
            who = self.builder or name or "default"
            reason = found.error or (said(answer) if not answer.ok else "`docker buildx inspect` reports no driver")
            raise NoEngine(f"builder {who!r} does not respond: {reason}", hint)
        if driver == "remote" and {node.status for node in found.nodes} == {"inactive"}:
            raise NoEngine(
                f"builder {name!r} is down: no response from {found.nodes[0].endpoint}",
                "start it, then check it with `docker buildx ls`",
            )
        own = of_nodes(found.nodes)
        from python_on_whales.exceptions import DockerException

        try:
            info = self._client.system.info()
        except DockerException as error:
            if driver != "docker":
                return Builder(name=name, driver=driver, image_store=True, registries=own)
            raise NoEngine("the Docker Engine does not respond", "start it, or run `ohbuild engine up`") from error
        status = " ".join(" ".join(pair) for pair in info.driver_status or ())
        # A remote builder does not tell its configuration. It may be this Docker's.
        registries = of_docker(info.registry_config or {}).under(own)
        image_store = driver != "docker" or "containerd.snapshotter" in status
        return Builder(name=name, driver=driver, image_store=image_store, registries=registries)

    def definition(self, file: str, folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
        """Returns what buildx reads from a bake file. No daemon is needed.

        Args:
            file: Name of the bake file in ``folder``.
            folder: Working folder of buildx.
            variables: Values for the variables of the bake file.

        Raises:
            OhbuildError: buildx rejects the file.
        """
        answer = self._ask("buildx", "bake", "--file", file, "--print", cwd=folder, more=variables)
        if not answer.ok:
            raise OhbuildError(f"buildx cannot read the bake file: {answer.last}")
        result = json.loads(answer.out)
        assert isinstance(result, dict)
        return result

    def local_config(self, image: ImageRef) -> ImageConfig | None:
        """Returns the config of an image in the engine's local store; ``None`` if it is not there."""
        answer = self._inspect(image)
        try:
            return ImageConfig.parse(json.loads(answer.out)[0]) if answer.ok else None
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def local_names(self, repository: ImageRef) -> set[str]:
        """Returns the full names (``repository:tag``) of a repository's images in the engine's local store."""
        words = ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository.repository)
        return set(self._ask(*words).out.split())

    def has_image(self, image: ImageRef, platform: Platform | None = None) -> bool:
        """Checks whether the engine's local store has an image, for a specific platform if given.

        Raises:
            NoEngine: The engine does not respond.
        """
        answer = self._inspect(image)
        if not answer.ok:
            if "no such image" in answer.err.lower():
                return False
            raise NoEngine(
                f"the Docker Engine cannot inspect {image}: {answer.last}",
                "check that it is running with `docker info`",
            )
        found = self.local_config(image)
        if platform is None or (found and found.platform == platform):
            return True
        # Docker inspects one platform, its own by default. Another can be requested since API 1.49.
        return self._inspect(image, f"--platform={platform}").ok

    def _inspect(self, image: ImageRef, *options: str) -> process.Answer:
        return self._ask("image", "inspect", *options, str(image))

    def image_size(self, image: str) -> int:
        """Returns the size of a loaded image in bytes; 0 if it does not exist."""
        from python_on_whales.exceptions import DockerException

        try:
            return int(self._client.image.inspect(image).size or 0)
        except DockerException:
            return 0

    def solve(
        self,
        words: Sequence[str],
        progress: Progress,
        listener: Listener,
        *,
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
        until: Callable[[], bool] | None = None,
        stop_within: Callable[[], float] = lambda: STOP_WITHIN,
    ) -> tuple[int, dict[str, Any]]:
        """Runs ``buildx bake …`` or ``buildx build …`` to completion. Thread-safe.

        Args:
            words: Subcommand and arguments; options for progress, metadata and the builder are added.
            progress: Receives BuildKit's output.
            listener: Called with each event.
            cwd: Working folder; the current one by default.
            variables: Environment variables to add.
            until: Polled several times a second; the build is stopped as soon as it returns true.
            stop_within: Returns how many seconds buildx then has to stop, before it is killed.

        Returns:
            The exit code and buildx's metadata.

        Raises:
            Interrupted: BuildKit stopped the build because of ``until``, SIGINT (Ctrl-C), SIGTERM or SIGHUP.
        """
        with tempfile.TemporaryDirectory(prefix="ohbuild-") as scratch:
            metadata = Path(scratch) / "metadata.json"
            command = [*self._command(), "buildx", words[0], "--progress", "rawjson", *self._builder_flag()]
            command += ["--metadata-file", str(metadata), *words[1:]]
            more = {**(variables or {}), "BUILDX_METADATA_PROVENANCE": "disabled", "BUILDX_METADATA_WARNINGS": "0"}
            with (
                signals_interrupt(),
                subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=self._environment(more),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    # So that a Ctrl-C in the terminal reaches only us, and buildx gets one SIGINT from us.
                    start_new_session=True,
                ) as running,
            ):
                interrupted = feed(running, progress, listener, until, stop_within)
            if interrupted:
                raise Interrupted("stopped", "completed steps are in the builder's cache")
            data = (
                json.loads(metadata.read_text(encoding="utf-8"))
                if not running.returncode and metadata.is_file()
                else {}
            )
        return running.returncode, data

    def _ask(self, *words: str, cwd: Path | None = None, more: Mapping[str, str] | None = None) -> process.Answer:
        environment = {**self.connection.environment(), **(more or {})}
        return process.ask([*self._command(), *words], env=environment, timeout=_PATIENCE, cwd=cwd)

    def _command(self) -> list[str]:
        return [str(word) for word in self._client.client_config.docker_cmd]

    def _builder_flag(self) -> list[str]:
        return [f"--builder={self.builder}"] if self.builder else []

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, **self.connection.environment(), **(more or {})}
