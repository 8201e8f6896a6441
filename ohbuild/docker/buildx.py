"""The one door to buildx: asks builders and images, runs ``docker buildx``.

python-on-whales makes the client's command line, asks the engine about itself and looks at its images. Its own
``buildx.bake()`` is not used: it has no working folder, to which a bake file's paths are relative, does not hand out
rawjson line by line while keeping the metadata, and cannot tell SIGINT from a failure.
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

if TYPE_CHECKING:
    from python_on_whales import DockerClient


@dataclass(frozen=True, kw_only=True)
class Builder:
    """A buildx builder.

    Args:
        driver: ``docker``, ``docker-container``, ``kubernetes`` or ``remote``.
        image_store: for the ``docker`` driver: whether Docker uses containerd's image store, without which it makes
            neither images for several platforms nor cache exports.
        mirrors: registries that Docker asks first for Docker Hub names.
        insecure: registries that it is told to speak plain http with.
    """

    name: str
    driver: str
    image_store: bool
    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()

    def check_platforms(self, platforms: Sequence[Platform], *, load: bool) -> None:
        """Whether it can make one image for these platforms.

        Args:
            load: the image is to be loaded into Docker.

        Raises:
            UsageError: it cannot.
        """
        if len(platforms) < 2:
            return
        if self.driver == "docker" and not self.image_store:
            raise UsageError(
                f"builder {self.name!r} (docker driver) makes images for one platform at a time",
                "turn on Docker's containerd image store, or use a builder of another driver",
            )
        if self.driver != "docker" and load:
            raise UsageError(
                f"builder {self.name!r} ({self.driver} driver) cannot load an image for several platforms",
                "push it instead, or build for one platform",
            )


class Buildx:
    """The adapter to one engine and one of its builders.

    Args:
        builder: its name; the current one if empty.
    """

    def __init__(self, connection: Connection, builder: str = "") -> None:
        self.connection = connection
        self.builder = builder

    @cached_property
    def _client(self) -> DockerClient:
        from python_on_whales import DockerClient  # half a second of CPU, which `check` and help can do without

        connection = self.connection
        return DockerClient(config=connection.config_dir, host=connection.host, client_call=[str(connection.docker)])

    def describe(self) -> Builder:
        """Ask the builder what it is.

        Raises:
            NoEngine: it is unknown or does not answer.
        """
        command = [*self._command(), "buildx", "inspect", *([self.builder] if self.builder else [])]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), check=False)
        found = parse(done.stdout)
        name, driver = found.name, found.driver
        if done.returncode or not driver or found.error:
            last = (done.stderr.strip().splitlines() or [""])[-1].removeprefix("ERROR: ")
            hint = "see `docker buildx ls`" if self.builder else "start one with `ohbuild engine up`"
            who = self.builder or name or "default"
            raise NoEngine(f"builder {who!r} does not answer: {found.error or last}", hint)
        if driver == "remote" and {node.status for node in found.nodes} == {"inactive"}:
            raise NoEngine(
                f"builder {name!r} is down: nothing answers at {found.nodes[0].endpoint}",
                "start it; see `docker buildx ls`",
            )
        from python_on_whales.exceptions import DockerException

        try:
            info = self._client.system.info()
        except DockerException as error:
            if driver != "docker":
                return Builder(name=name, driver=driver, image_store=True)
            raise NoEngine("the Docker Engine does not answer", "start it, or run `ohbuild engine up`") from error
        status = " ".join(" ".join(pair) for pair in info.driver_status or ())
        registries = info.registry_config or {}
        mirrors = tuple(registries.get("Mirrors") or ())
        indexes = registries.get("IndexConfigs") or {}
        insecure = tuple(host for host, index in indexes.items() if not index.get("Secure", True))
        image_store = driver != "docker" or "containerd.snapshotter" in status
        return Builder(name=name, driver=driver, image_store=image_store, mirrors=mirrors, insecure=insecure)

    def definition(self, file: str, folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
        """What buildx reads from a bake file; needs no daemon.

        Args:
            file: its name in ``folder``.
            variables: of the bake file.

        Raises:
            OhbuildError: buildx does not take it.
        """
        command = [*self._command(), "buildx", "bake", "--file", file, "--print"]
        environment = self._environment(variables)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OhbuildError(f"buildx cannot read the bake file: {done.stderr.strip().splitlines()[-1]}")
        result = json.loads(done.stdout)
        assert isinstance(result, dict)
        return result

    def local_config(self, image: ImageRef) -> ImageConfig | None:
        """The config of an image that the engine's own store has; ``None`` if it has none."""
        done = self._inspect(image)
        try:
            return ImageConfig.parse(json.loads(done.stdout)[0]) if not done.returncode else None
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def local_names(self, repository: ImageRef) -> set[str]:
        """The tags of a repository that the engine's own store has, in full."""
        command = [*self._command(), "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository.repository]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), check=False)
        return set(done.stdout.split())

    def has_image(self, image: ImageRef, platform: Platform | None = None) -> bool:
        """Whether the engine's own store has an image, for a platform if one is named.

        Raises:
            NoEngine: the engine does not answer.
        """
        done = self._inspect(image)
        if done.returncode:
            if "no such image" in done.stderr.lower():
                return False
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NoEngine(
                f"the Docker Engine does not tell about {image}: {reason}", "is it running? see `docker info`"
            )
        found = ImageConfig.parse(json.loads(done.stdout)[0]).platform
        if platform is None or found == platform:
            return True
        # It tells of one platform, its own if it has that; of another where Docker (API 1.49) can be asked for it.
        return not self._inspect(image, f"--platform={platform}").returncode

    def _inspect(self, image: ImageRef, *options: str) -> subprocess.CompletedProcess[str]:
        command = [*self._command(), "image", "inspect", *options, str(image)]
        return subprocess.run(command, capture_output=True, text=True, env=self._environment(), check=False)

    def image_size(self, image: str) -> int:
        """Size of a loaded image in bytes; 0 if there is none."""
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
        """Run ``buildx bake …`` or ``buildx build …`` to its end; safe to call from several threads.

        Args:
            words: the subcommand and its arguments; what it prints and on which builder it runs is added.
            progress: is fed with all that BuildKit says.
            until: asked some times a second; once it says yes, BuildKit is told to stop.

        Returns:
            The exit code and buildx's metadata.

        Raises:
            Interrupted: by ``until``, SIGINT (Ctrl-C) or SIGTERM, which BuildKit was told of and has obeyed.
        """
        with tempfile.TemporaryDirectory(prefix="ohbuild-") as scratch:
            metadata = Path(scratch) / "metadata.json"
            command = [*self._command(), "buildx", words[0], "--progress", "rawjson", *self._builder_flag()]
            command += ["--metadata-file", str(metadata), *words[1:]]
            more = {**(variables or {}), "BUILDX_METADATA_PROVENANCE": "disabled", "BUILDX_METADATA_WARNINGS": "0"}
            # A session of its own: a Ctrl-C in the terminal reaches us alone, and buildx hears of it once, from us.
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self._environment(more),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            with process:
                interrupted = feed(process, progress, listener, until)
            if interrupted:
                raise Interrupted("stopped", "what was done so far is in the builder's cache")
            data = json.loads(metadata.read_text()) if metadata.is_file() else {}
        return process.returncode, data

    def _command(self) -> list[str]:
        return [str(word) for word in self._client.client_config.docker_cmd]

    def _builder_flag(self) -> list[str]:
        return ["--builder", self.builder] if self.builder else []

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, **self.connection.environment(), **(more or {})}
