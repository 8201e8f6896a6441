"""Run a rendered plan: buildx through python-on-whales, and the one place that knows either.

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

from ohbuild.engine import Connection
from ohbuild.errors import Interrupted, NoEngine, OhbuildError, UsageError
from ohbuild.failures import classify, failed_target, is_about_cache
from ohbuild.imageconfig import ImageConfig
from ohbuild.model import ImageRef, Platform
from ohbuild.progress import Progress
from ohbuild.render import BAKE_FILE, Rendered, write
from ohbuild.supervise import Listener, feed
from ohbuild.targets import Output, Plan

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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a target.

    Args:
        digest: of the index (or of the manifest where there is none); empty if nothing was exported.
        seconds: from its first step to its last.
        cached, steps: Dockerfile steps from the cache, and all.
        error: ``None`` if it was built.
        skipped: not attempted, because what it is made of failed.
    """

    target: str
    digest: str = ""
    seconds: float = 0.0
    cached: int = 0
    steps: int = 0
    error: OhbuildError | None = None
    skipped: bool = False


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
        fields: dict[str, str] = {}
        for line in done.stdout.splitlines():
            fields.setdefault(*line.partition(":")[::2])  # the first of a kind: its nodes come after the builder
        states = [line.partition(":")[2].strip() for line in done.stdout.splitlines() if line.startswith("Status:")]
        name, driver = fields.get("Name", "").strip(), fields.get("Driver", "").strip()
        problem = fields.get("Error", "").strip() or (done.stderr.strip().splitlines() or [""])[-1].removeprefix(
            "ERROR: "
        )
        if done.returncode or not driver or fields.get("Error"):
            hint = "see `docker buildx ls`" if self.builder else "start one with `ohbuild engine up`"
            raise NoEngine(f"builder {self.builder or name or 'default'!r} does not answer: {problem}", hint)
        if driver == "remote" and set(states) == {"inactive"}:
            endpoint = fields.get("Endpoint", "").strip()
            raise NoEngine(
                f"builder {name!r} is down: nothing answers at {endpoint}", "start it; see `docker buildx ls`"
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

    def parse(self, rendered: Rendered) -> dict[str, Any]:
        """What buildx reads from the bake file; needs no daemon.

        Raises:
            OhbuildError: buildx does not take it.
        """
        with tempfile.TemporaryDirectory(prefix="ohbuild-") as scratch:
            folder = Path(scratch) / "rendered"  # buildx looks whether the files it names are there
            write(rendered, folder)
            command = [*self._command(), "buildx", "bake", "--file", BAKE_FILE, "--print"]
            environment = self._environment(rendered.variables)
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

    def bake(
        self,
        rendered: Rendered,
        folder: Path,
        targets: Sequence[str],
        listener: Listener,
        flags: Sequence[str] = (),
        until: Callable[[], bool] | None = None,
    ) -> tuple[int, Progress, dict[str, Any]]:
        """Run ``buildx bake`` in ``folder`` to its end.

        Returns:
            The exit code, all that BuildKit said, and buildx's metadata by target.

        Raises:
            Interrupted: by SIGINT (Ctrl-C) or SIGTERM, which BuildKit was told of and has obeyed.
        """
        progress = Progress(targets)
        words = ["bake", "--file", BAKE_FILE, *flags, *targets]
        code, data = self.solve(words, progress, listener, cwd=folder, variables=rendered.variables, until=until)
        return code, progress, data

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


def check(plan: Plan, builder: Builder) -> None:
    """Whether this builder can make the outputs of this plan.

    Raises:
        UsageError: it cannot.
    """
    several = [target for target in (*plan.runtimes, plan.deps) if target and len(target.platforms) > 1]
    if builder.driver == "docker" and not builder.image_store and several:
        raise UsageError(
            f"builder {builder.name!r} (docker driver) makes images for one platform at a time",
            "turn on Docker's containerd image store, or make a builder: `docker buildx create --use`",
        )
    if builder.driver != "docker" and plan.output is Output.LOAD and several:
        raise UsageError(
            f"builder {builder.name!r} ({builder.driver} driver) cannot --load an image for several platforms",
            "use --push, or ask for one platform with --platform",
        )


def run_components(
    buildx: Buildx,
    rendered: Rendered,
    folder: Path,
    listener: Listener,
    *,
    no_cache: bool = False,
    until: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """Build the component images that are missing.

    Args:
        folder: where ``rendered`` was written.
        no_cache: run every step again.
        until: asked some times a second; once it says yes, BuildKit is told to stop.

    Raises:
        OhbuildError: the first that failed ended it, or nothing could be built at all.
    """
    targets = [item.target.name for item in rendered.plan.missing]
    flags = ["--no-cache"] if no_cache else []
    code, progress, metadata = buildx.bake(rendered, folder, targets, listener, flags, until)
    if not code:
        return [_outcome(name, progress, metadata) for name in targets]
    raise classify(progress)


def run(buildx: Buildx, rendered: Rendered, folder: Path, listener: Listener) -> list[Outcome]:
    """Assemble deps, then the runtimes; a runtime that fails does not take the others down.

    Args:
        folder: where ``rendered`` was written.

    Raises:
        Interrupted, NoEngine: nothing more can be done.
    """
    outcomes: dict[str, Outcome] = {}
    plan = rendered.plan
    if plan.deps:
        outcomes |= _attempt(buildx, rendered, folder, ["deps"], listener, [])
    remaining = [target.name for target in plan.runtimes]
    if any(outcome.error for outcome in outcomes.values()):
        return [*outcomes.values(), *(Outcome(target=name, skipped=True) for name in remaining)]
    while remaining:
        done = _attempt(buildx, rendered, folder, remaining, listener, [])
        outcomes |= done
        # bake stops all when one fails: those that it did not blame get another run without the culprit.
        remaining = [name for name in remaining if name not in done]
    return [outcomes[target.name] for target in plan.targets]


def _attempt(
    buildx: Buildx, rendered: Rendered, folder: Path, targets: list[str], listener: Listener, flags: Sequence[str]
) -> dict[str, Outcome]:
    """One bake. All targets if it went well; otherwise at least the one that failed."""
    code, progress, metadata = buildx.bake(rendered, folder, targets, listener, flags)
    without = _without_cache(rendered.plan)
    if code and is_about_cache(progress) and without and without[0] not in flags:
        code, progress, metadata = buildx.bake(rendered, folder, targets, listener, [*flags, *without])
    if not code:
        return {name: _outcome(name, progress, metadata) for name in targets}
    error = classify(progress)
    if isinstance(error, NoEngine):
        raise error
    culprit = failed_target(progress) if len(targets) > 1 else targets[0]
    if culprit:
        return {culprit: _outcome(culprit, progress, {}, error)}
    outcomes: dict[str, Outcome] = {}
    for name in targets:
        outcomes |= _attempt(buildx, rendered, folder, [name], listener, flags)
    return outcomes


def _outcome(name: str, progress: Progress, metadata: Mapping[str, Any], error: OhbuildError | None = None) -> Outcome:
    cached, steps = progress.counts(name)
    digest = metadata.get(name, {}).get("containerimage.digest", "")
    return Outcome(target=name, digest=digest, seconds=progress.seconds(name), cached=cached, steps=steps, error=error)


def _without_cache(plan: Plan) -> list[str]:
    if not plan.cache_from and not plan.cache_to:
        return []
    return ["--set=*.cache-from=", "--set=*.cache-to="]
