"""What all builders share: check, find a place, run ``docker buildx build``, say what became of it."""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ohbuild import openhands_folder
from ohbuild.bake import Builder, Buildx
from ohbuild.builders.base import RuntimeBuilder
from ohbuild.builders.context import BuildRequest, check_request
from ohbuild.builders.errors import Category, build_error
from ohbuild.builders.local_cache import local_cache
from ohbuild.builders.slots import slot, slots_folder
from ohbuild.builders.translate import translated
from ohbuild.ca_bundle import read_ca_bundle
from ohbuild.connect import connect_builder
from ohbuild.engine import Connection, find
from ohbuild.errors import ImageNotFound, Interrupted, NoEngine, UsageError
from ohbuild.failures import classify
from ohbuild.image_sources import open_registry
from ohbuild.model import ImageRef, Platform, parse_platforms
from ohbuild.progress import Event, Progress
from ohbuild.registry import Registry
from ohbuild.runtime_image import RuntimeImage
from ohbuild.settings import Settings
from ohbuild.settings import load as load_settings

_log = logging.getLogger("ohbuild.builders")
_OWN_CA = re.compile(r"^--secret=(?:.*,)?id=ca(?:,|$)")


def log_event(event: Event) -> None:
    """The default listener: what BuildKit says goes to the logger ``ohbuild.builders``, level DEBUG."""
    if event.kind == "log":
        _log.debug("| %s", event.text)
    elif "internal]" not in event.step:
        _log.debug("%s: %s %s", event.kind, event.step, event.text)


class BuildxBuilder(RuntimeBuilder):
    """Builds with ``docker buildx build``; what differs between builders is how buildx's builder is provided.

    Safe to use from several threads, beside other processes. It is never made the user's default builder, and the
    user's Docker context stays as it is.

    Parameters
    ----------
    settings: ohbuild's settings (``ohbuild.toml``, ``OHBUILD_*``); read if not given. What follows goes over them.
    builder: name of a buildx builder, of any driver; the current one if empty.
    push: push the image with all its tags to their registries; if not given, where the setting ``output`` is ``push``.
    load: put the image into the local Docker's store; if not given, where nothing is pushed.
    platform: the platform (or several, by comma) of a ``build()`` that names none; the builder's own if empty.
    max_builds: how many builds may run at a time on this builder, over all threads and processes of this user.
    timeout: seconds for a build, waiting for a place included; ``None`` or 0 for no limit.
    runtime_layers: build a folder that OpenHands 1.6.0 has prepared, with its sources unchanged, out of ohbuild's own
        layers instead of its Dockerfile's (which downloads and installs for many minutes). Other folders are built as
        they are.
    connect: finds the engine.
    listener: is told what BuildKit does, from the thread that builds.

    Raises
    ------
    AgentRuntimeBuildError: a setting or a parameter is wrong.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        builder: str = "",
        push: bool | None = None,
        load: bool | None = None,
        platform: str = "",
        max_builds: int | None = None,
        timeout: float | None = None,
        runtime_layers: bool = True,
        connect: Callable[[], Connection] = find,
        listener: Callable[[Event], None] = log_event,
    ) -> None:
        with translated("making a RuntimeBuilder"):
            settings = settings or load_settings().settings
            self.settings = settings.model_copy(update={"builder": builder or settings.builder})
            self.max_builds = settings.max_builds if max_builds is None else max_builds
            self.timeout = settings.build_timeout if timeout is None else timeout
            if self.max_builds < 1:
                raise UsageError(f"max_builds is {self.max_builds}", "at least one build has to run")
            if self.timeout < 0:
                raise UsageError(f"timeout is {self.timeout}", "give seconds, or 0 for no limit")
            self.push = settings.output == "push" and not load if push is None else push
            self.load = not self.push if load is None else load
            if not self.push and not self.load:
                raise UsageError("the image would go nowhere: neither push nor load", "turn one of them on")
            self.platforms = parse_platforms([platform])
        self.runtime_layers = runtime_layers
        self._connect = connect
        self._listener = listener
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._running = 0
        self._provided: tuple[Buildx, Builder] | None = None
        self._own_registry: Registry | None = None

    # --- what a subclass may do differently

    def _provide(self) -> tuple[Buildx, Builder]:
        """buildx's builder, and what it is. Called once, before the first build.

        Raises
        ------
        OhbuildError: there is none.
        """
        return connect_builder(self.settings, self._connect)

    def _release(self) -> None:
        """Give back what ``_provide`` made. Called once, when no build runs any more."""

    # --- the interface

    def build(
        self,
        path: str,
        tags: list[str],
        platform: str | None = None,
        extra_build_args: list[str] | None = None,
        use_local_cache: bool = False,
        *,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> str:
        """Build an image from a folder; see ``RuntimeBuilder.build``. The name returned is the first of the tags."""
        with translated("the build"):
            stop = _Stop(self.timeout if timeout is None else timeout, cancel, self._closing)
            request = check_request(path, tags, platform, extra_build_args)
            if not request.platforms:
                request = replace(request, platforms=self.platforms)
            with self._busy():
                self._build(request, stop, use_local_cache=use_local_cache)
        return str(request.tags[0])

    def image_exists(self, image_name: str, pull_from_repo: bool = True, *, platform: str | None = None) -> bool:
        """Whether an image is where this builder puts images, or in its registry.

        The local Docker is asked if this builder loads its images there. The registry is asked for the head of a
        manifest, which moves no layer, if ``pull_from_repo`` or if this builder only pushes.

        Parameters
        ----------
        platform: count only an image that is there for this platform.

        Raises
        ------
        AgentRuntimeBuildError: it could not be found out, which is not the same as that it is not there.
        """
        with translated("asking for an image"):
            if not image_name or not isinstance(image_name, str):
                raise UsageError(f"{image_name!r} is not an image reference", "write it like debian:trixie")
            image = ImageRef.parse(image_name)
            wanted = Platform.parse(platform) if platform else None
            if self.load and Buildx(self._engine).has_image(image, wanted):
                return True
            return (pull_from_repo or not self.load) and self._in_registry(image, wanted)

    def close(self) -> None:
        """Stop what runs, wait for it to end, and give back what was made. A closed builder builds no more."""
        self._closing.set()
        with self._ended:
            self._ended.wait_for(lambda: not self._running)
            with translated("closing the builder"):
                if self._own_registry:
                    self._own_registry.close()
                    self._own_registry = None
                if self._provided:
                    self._provided = None
                    self._release()

    def with_components(self, image: RuntimeImage) -> RuntimeImage:
        """A runtime image of which all component images exist: this builder builds those that are missing.

        Raises
        ------
        AgentRuntimeBuildError: one of them could not be built.
        """
        with (
            translated("the build of components"),
            self._busy(),
            tempfile.TemporaryDirectory(prefix="ohbuild-") as temp,
        ):
            stop = _Stop(self.timeout, None, self._closing)
            try:
                job = image.job.on(*self._buildx(), Path(temp) / "components")
                return replace(image, job=job.with_components(self._listener, stop))
            except Interrupted as error:
                raise stop.reason(f"the build of {image.name}") from error

    # --- building

    @contextmanager
    def _busy(self) -> Iterator[None]:
        with self._lock:
            if self._closing.is_set():
                raise UsageError("this builder is closed", "make another")
            self._running += 1
        try:
            yield
        finally:
            with self._ended:
                self._running -= 1
                self._ended.notify_all()

    def _buildx(self) -> tuple[Buildx, Builder]:
        with self._lock:
            if self._provided is None:
                self._provided = self._provide()
            return self._provided

    def _build(self, request: BuildRequest, stop: _Stop, *, use_local_cache: bool) -> None:
        buildx, builder = self._buildx()
        _check_builder(request, builder, load=self.load)
        key = f"{buildx.connection.host or 'docker'} {builder.name}"
        name = str(request.tags[0])
        try:
            with slot(slots_folder(key), self.max_builds, stop), tempfile.TemporaryDirectory(prefix="ohbuild-") as temp:
                scratch = Path(temp)
                if self.runtime_layers:
                    settings = self.settings.model_copy(update={"output": "push" if self.push else "none"})
                    request = openhands_folder.replaced(
                        request, scratch, settings, (buildx, builder), self._listener, stop
                    )
                words = [*self._words(request, builder), *self._secrets(request, scratch)]
                with local_cache(use_local_cache, builder, request) as cache:
                    self._solve(buildx, request, [*words, *cache], stop)
        except Interrupted as error:
            raise stop.reason(f"the build of {name}") from error

    def _solve(self, buildx: Buildx, request: BuildRequest, words: Sequence[str], stop: Callable[[], bool]) -> None:
        name = str(request.tags[0])
        progress = Progress([name])
        _log.info("building %s from %s", name, request.folder)
        code, data = buildx.solve(["build", *words, str(request.folder)], progress, self._listener, until=stop)
        if code:
            raise classify(progress)
        cached, steps = progress.counts(name)
        digest = data.get("containerimage.digest", "")
        _log.info("built %s: %d of %d steps from the cache, %s", name, cached, steps, digest)

    def _words(self, request: BuildRequest, builder: Builder) -> list[str]:
        """The options of ``docker buildx build``, but for secrets and the local cache."""
        words = [*request.options, *(f"--tag={tag}" for tag in request.tags)]
        if request.platforms:
            words.append(f"--platform={','.join(str(platform) for platform in request.platforms)}")
        if not any(request.says(option) for option in ("provenance", "sbom", "attest")):
            words.append(f"--provenance={'mode=max' if self.settings.provenance else 'false'}")
        return [*words, *(f"--output={output}" for output in self._outputs(builder))]

    def _outputs(self, builder: Builder) -> list[str]:
        pushed = f"type=registry,compression={self.settings.compression},oci-mediatypes=true"
        if builder.driver != "docker":
            return [*(["type=docker"] if self.load else []), *([pushed] if self.push else [])]
        # Docker's own builder takes one output: its store is where it pushes from, unless it is told not to keep it.
        if self.load and self.push:
            return ["type=image,push=true"]
        return [f"{pushed},store=false"] if self.push else ["type=docker"]

    def _secrets(self, request: BuildRequest, scratch: Path) -> list[str]:
        """The CA certificates for steps that ask for them, as in every other build of ohbuild's."""
        bundle = read_ca_bundle(self.settings)
        if not bundle or any(_OWN_CA.search(word) for word in request.options):
            return []
        (scratch / "ca.crt").write_bytes(bundle)
        return [f"--secret=id=ca,src={scratch / 'ca.crt'}"]

    # --- asking

    @cached_property
    def _engine(self) -> Connection:
        return self._connect()

    def _in_registry(self, image: ImageRef, platform: Platform | None) -> bool:
        with self._lock:
            registry = self._own_registry = self._own_registry or self._open_registry()
        if platform is None:
            return registry.exists(image)
        try:
            return platform in registry.resolve(image).sizes
        except ImageNotFound:
            return False

    def _open_registry(self) -> Registry:
        try:
            return open_registry(self._engine)
        except NoEngine:
            if self.load:
                raise
            return open_registry(None)  # a builder that is elsewhere needs no Docker here


class _Stop:
    """Whether a build is to stop, and why: after ``timeout`` seconds (0 for no limit), or at an event."""

    def __init__(self, timeout: float, cancel: threading.Event | None, closing: threading.Event) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout if timeout else float("inf")
        self._cancel, self._closing = cancel or threading.Event(), closing

    def __call__(self) -> bool:
        return self._cancel.is_set() or self._closing.is_set() or time.monotonic() > self._end

    def reason(self, what: str) -> Exception:
        if not self._cancel.is_set() and time.monotonic() > self._end:
            return build_error(
                f"{what} took more than {self._timeout:g} s", Category.RESOURCE, "give it more time with timeout=…"
            )
        kept = "what was done so far is in the builder's cache"
        return build_error(f"{what} was cancelled", Category.CANCELLED, kept)


def _check_builder(request: BuildRequest, builder: Builder, *, load: bool) -> None:
    if len(request.platforms) < 2:
        return
    if builder.driver != "docker" and load:
        raise UsageError(
            f"builder {builder.name!r} ({builder.driver} driver) cannot load an image for several platforms",
            "push it (push=True, load=False), or build for one platform",
        )
    if builder.driver == "docker" and not builder.image_store:
        raise UsageError(
            f"builder {builder.name!r} (docker driver) makes images for one platform at a time",
            "turn on Docker's containerd image store, or give another builder",
        )
