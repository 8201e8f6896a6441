"""A runtime image requested through OpenHands' functions: its names, and the folder to build it from."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ohbuild.bake.facts import Purpose
from ohbuild.bake.job import Job, prepare
from ohbuild.bake.render import standalone
from ohbuild.components.choice import ACTION_EXECUTION_SERVER
from ohbuild.config.bases import Named
from ohbuild.config.settings import load_for_bases
from ohbuild.docker.connection import Connection
from ohbuild.engine.find import find
from ohbuild.folder import File, write_folder
from ohbuild.images import labels as label
from ohbuild.openhands.tags import REPOSITORY_VARIABLE, ImageContent, Tags, get_runtime_image_repo, make_tags

_log = logging.getLogger("ohbuild.builders")
# Parameter for each setting that has another name, for error messages.
_PARAMETERS = {"bases": "base_image", "platforms": "platform", "requirements": "plugins", "image": REPOSITORY_VARIABLE}
_LOCKS = ("package-lock.json", "npm-shrinkwrap.json", "requirements.txt")


@dataclass(frozen=True, kw_only=True)
class RuntimeImage:
    """A runtime image that exists or can be built.

    Attributes:
        repository: Repository of the image.
        tags: Tags of the image.
        job: Run with this image as its only runtime image.
    """

    repository: str
    tags: Tags
    job: Job

    @property
    def remarks(self) -> tuple[str, ...]:
        """Messages for the user, including those about the base."""
        return self.job.remarks

    @property
    def name(self) -> str:
        """The name that identifies exactly this image."""
        return f"{self.repository}:{self.tags.source}"

    @property
    def lock_name(self) -> str:
        """The name for images with the same request and the same locks."""
        return f"{self.repository}:{self.tags.lock}"

    @property
    def versioned_name(self) -> str:
        """The name for images with the same request and any locks."""
        return f"{self.repository}:{self.tags.versioned}"

    @property
    def platform(self) -> str:
        """The platforms, separated by commas."""
        return ",".join(str(platform) for platform in self.job.plan.runtimes[0].platforms)

    def with_components(self) -> RuntimeImage:
        """Builds missing component images with the builder in the settings.

        If no builder is available, they remain missing and a warning is logged: they may be available where the image
        is built.

        Returns:
            The image with all its component images.

        Raises:
            OhbuildError: A component image could not be built.
        """
        missing = self.job.plan.missing
        if missing and self.job.builder is None:
            names = ", ".join(str(item.image) for item in missing)
            _log.warning("component images are missing, build them with `ohbuild deps`: %s", names)
        if not missing or self.job.builder is None:
            return self
        with tempfile.TemporaryDirectory(prefix="ohbuild-") as folder:
            job = replace(self.job, folder=Path(folder) / "out")
            return replace(self, job=job.with_components(lambda event: None))

    def write(self, folder: Path) -> None:
        """Writes the build context to a folder. Other files in it are kept.

        Raises:
            UsageError: The folder is not writable.
        """
        plan = self.job.plan
        write_folder(standalone(plan, plan.runtimes[0]), folder, plan.source_date_epoch)


def describe(
    base_image: str,
    *,
    platform: str | None = None,
    extra_deps: str | None = None,
    extra_build_args: Sequence[str] | None = None,
    enable_browser: bool = True,
    plugins: Iterable[str] | None = None,
    build_args: Mapping[str, str] | None = None,
    deps_image: str | None = None,
    push: bool = False,
    connect: Callable[[], Connection] = find,
) -> RuntimeImage:
    """Determines the names and the build context of the requested image, without building anything.

    The base is looked up in its registry, as by ``ohbuild bake``. If the registry does not respond, the tags do not
    include the digest of the base. This is not an error, because the builder may still be able to reach the registry.

    Args:
        base_image: Base of the runtime image.
        platform: Platform, or several separated by commas; by default that of the settings, or else this machine's.
        extra_deps: Shell commands to run at the end of the build.
        extra_build_args: Options for the builder; the tags depend on them.
        enable_browser: Whether the image contains a browser.
        plugins: Agent plug-ins that the image must support; by default all.
        build_args: Values for the build arguments of components.
        deps_image: Existing deps image to take the layers from.
        push: Whether the image will be pushed. Missing component images are then pushed next to it.
        connect: Finds the Docker Engine, which is optional.

    Raises:
        OhbuildError: An argument is invalid, or the base is not usable.
    """
    repository = get_runtime_image_repo()
    asked = {
        "image": repository,
        "server": ACTION_EXECUTION_SERVER,
        "platforms": [platform] if platform else None,
        "extra_deps": extra_deps,
        "enable_browser": enable_browser,
        "requirements": None if plugins is None else list(plugins),
        "build_args": dict(build_args) if build_args else None,
        "deps_image": deps_image,
        "output": "push" if push else "none",
    }
    settings = load_for_bases(
        asked,
        [Named(base_image, _PARAMETERS["bases"])],  # one base, never a list
        given_by=lambda setting: f"parameter {_PARAMETERS.get(setting, setting)}",
    )
    job = prepare(settings, purpose=Purpose.SHOW, connect=connect)
    content = _content(
        job, plugins=settings.requirements, enable_browser=settings.enable_browser, options=extra_build_args
    )
    return RuntimeImage(repository=repository, tags=make_tags(content), job=job)


def _content(
    job: Job,
    *,
    plugins: tuple[str, ...] | None,
    enable_browser: bool,
    options: Sequence[str] | None,
) -> ImageContent:
    plan = job.plan
    target = plan.runtimes[0]
    assert target.base is not None
    ready: dict[str, Any] = {"components": {item.name: item.version for item in plan.components}}
    if plan.deps_image:
        ready["components"] = label.component_versions(plan.deps_image.labels)
        ready["deps_image"] = plan.deps_image.image.canonical
    return ImageContent(
        base=target.base.image,
        digest=target.base.digest,
        platforms=target.platforms,
        plugins=plugins,
        enable_browser=enable_browser,
        extra_deps=plan.extra_deps,
        build_args=plan.args,
        extra_build_args=tuple(options or ()),
        locks={**lock_files(plan.stages.files), "build image": plan.build_image.canonical},
        source=job.rendered.keys[target.name],
        **ready,
    )


def lock_files(files: Mapping[str, File]) -> dict[str, str]:
    """Returns the SHA-256 (hex) of each lock file by its path."""
    return {
        path: hashlib.sha256(file.data).hexdigest()
        for path, file in sorted(files.items())
        if PurePosixPath(path).suffix == ".lock" or PurePosixPath(path).name in _LOCKS
    }
