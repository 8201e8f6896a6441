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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ohbuild.docker.connection import Connection
from ohbuild.docker.described import parse
from ohbuild.docker.progress import Progress
from ohbuild.docker.supervise import Listener, feed
from ohbuild.errors import Interrupted, NoEngine, OhbuildError, UsageError
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.process import Answer

if TYPE_CHECKING:
    from python_on_whales import DockerClient


@dataclass(frozen=True, kw_only=True)
class Builder:
    """A buildx builder.

    Attributes:
        name: Name of the builder.
        driver: ``docker``, ``docker-container``, ``kubernetes`` or ``remote``.
        image_store: Whether Docker uses containerd's image store; always true for other drivers. Without it, the
            ``docker`` driver supports neither multi-platform images nor cache exports.
        mirrors: Registries that Docker tries first for Docker Hub images.
        insecure: Registries for which Docker is configured to use plain HTTP.
    """

    name: str
    driver: str
    image_store: bool
    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()

    def check_platforms(self, platforms: Sequence[Platform], *, load: bool) -> None:
        """Checks that the builder can build one image for all of these platforms.

        Args:
            platforms: Platforms of the image.
            load: Whether the image is loaded into Docker.

        Raises:
            UsageError: It cannot.
        """
        if len(platforms) < 2:
            return
        if self.driver == "docker" and not self.image_store:
            raise UsageError(
                f"builder {self.name!r} (docker driver) builds for one platform at a time",
                "enable Docker's containerd image store, or use a builder with another driver",
            )
        if self.driver != "docker" and load:
            raise UsageError(
                f"builder {self.name!r} ({self.driver} driver) cannot load a multi-platform image",
                "push it instead, or build for one platform",
            )


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
        command = [*self._command(), "buildx", "inspect", *([self.builder] if self.builder else [])]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=self._environment(), check=False
        )
        found = parse(done.stdout)
        name, driver = found.name, found.driver
        if done.returncode or not driver or found.error:
            last = (done.stderr.strip().splitlines() or [""])[-1].removeprefix("ERROR: ")
            hint = "see `docker buildx ls`" if self.builder else "start one with `ohbuild engine up`"
            who = self.builder or name or "default"
            raise NoEngine(f"builder {who!r} does not respond: {found.error or last}", hint)
        if driver == "remote" and {node.status for node in found.nodes} == {"inactive"}:
            raise NoEngine(
                f"builder {name!r} is down: no response from {found.nodes[0].endpoint}",
                "start it, then check it with `docker buildx ls`",
            )
        from python_on_whales.exceptions import DockerException

        try:
            info = self._client.system.info()
        except DockerException as error:
            if driver != "docker":
                return Builder(name=name, driver=driver, image_store=True)
            raise NoEngine("the Docker Engine does not respond", "start it, or run `ohbuild engine up`") from error
        status = " ".join(" ".join(pair) for pair in info.driver_status or ())
        registries = info.registry_config or {}
        mirrors = tuple(registries.get("Mirrors") or ())
        indexes = registries.get("IndexConfigs") or {}
        insecure = tuple(host for host, index in indexes.items() if not index.get("Secure", True))
        image_store = driver != "docker" or "containerd.snapshotter" in status
        return Builder(name=name, driver=driver, image_store=image_store, mirrors=mirrors, insecure=insecure)

    def definition(self, file: str, folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
        """Returns what buildx reads from a bake file. No daemon is needed.

        Args:
            file: Name of the bake file in ``folder``.
            folder: Working folder of buildx.
            variables: Values for the variables of the bake file.

        Raises:
            OhbuildError: buildx rejects the file.
        """
        command = [*self._command(), "buildx", "bake", "--file", file, "--print"]
        environment = self._environment(variables)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if done.returncode:
            answer = Answer(code=done.returncode, out=done.stdout.strip(), err=done.stderr.strip())
            raise OhbuildError(f"buildx cannot read the bake file: {answer.last}")
        result = json.loads(done.stdout)
        assert isinstance(result, dict)
        return result

    def local_config(self, image: ImageRef) -> ImageConfig | None:
        """Returns the config of an image in the engine's local store; ``None`` if it is not there."""
        done = self._inspect(image)
        try:
            return ImageConfig.parse(json.loads(done.stdout)[0]) if not done.returncode else None
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def local_names(self, repository: ImageRef) -> set[str]:
        """Returns the full names (``repository:tag``) of a repository's images in the engine's local store."""
        command = [*self._command(), "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository.repository]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=self._environment(), check=False
        )
        return set(done.stdout.split())

    def has_image(self, image: ImageRef, platform: Platform | None = None) -> bool:
        """Checks whether the engine's local store has an image, for a specific platform if given.

        Raises:
            NoEngine: The engine does not respond.
        """
        done = self._inspect(image)
        if done.returncode:
            if "no such image" in done.stderr.lower():
                return False
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NoEngine(
                f"the Docker Engine cannot inspect {image}: {reason}", "check that it is running with `docker info`"
            )
        found = ImageConfig.parse(json.loads(done.stdout)[0]).platform
        if platform is None or found == platform:
            return True
        # Docker inspects one platform, its own by default. Another can be requested since API 1.49.
        return not self._inspect(image, f"--platform={platform}").returncode

    def _inspect(self, image: ImageRef, *options: str) -> subprocess.CompletedProcess[str]:
        command = [*self._command(), "image", "inspect", *options, str(image)]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=self._environment(), check=False
        )

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
    ) -> tuple[int, dict[str, Any]]:
        """Runs ``buildx bake …`` or ``buildx build …`` to completion. Thread-safe.

        Args:
            words: Subcommand and arguments; options for progress, metadata and the builder are added.
            progress: Receives BuildKit's output.
            listener: Called with each event.
            cwd: Working folder; the current one by default.
            variables: Environment variables to add.
            until: Polled several times a second; the build is stopped as soon as it returns true.

        Returns:
            The exit code and buildx's metadata.

        Raises:
            Interrupted: BuildKit stopped the build because of ``until``, SIGINT (Ctrl-C) or SIGTERM.
        """
        with tempfile.TemporaryDirectory(prefix="ohbuild-") as scratch:
            metadata = Path(scratch) / "metadata.json"
            command = [*self._command(), "buildx", words[0], "--progress", "rawjson", *self._builder_flag()]
            command += ["--metadata-file", str(metadata), *words[1:]]
            more = {**(variables or {}), "BUILDX_METADATA_PROVENANCE": "disabled", "BUILDX_METADATA_WARNINGS": "0"}
            # In its own session, so that a Ctrl-C in the terminal reaches only us, and buildx gets one SIGINT from us.
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self._environment(more),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            with process:
                interrupted = feed(process, progress, listener, until)
            if interrupted:
                raise Interrupted("stopped", "completed steps are in the builder's cache")
            data = json.loads(metadata.read_text(encoding="utf-8")) if metadata.is_file() else {}
        return process.returncode, data

    def _command(self) -> list[str]:
        return [str(word) for word in self._client.client_config.docker_cmd]

    def _builder_flag(self) -> list[str]:
        return ["--builder", self.builder] if self.builder else []

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, **self.connection.environment(), **(more or {})}
