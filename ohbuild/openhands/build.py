"""Replacement for ``openhands.runtime.utils.runtime_build`` of OpenHands 1.6.0.

``build_runtime_image`` finds or builds the runtime image for a base with any ``RuntimeBuilder``. It makes the same
calls to the builder, but avoids four problems of OpenHands' function: a forced rebuild passes no tags, tags omit
parameters that the image depends on, a dry run writes nothing if the image exists, and the name that the builder
returns is ignored.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ohbuild.builders.errors import Category, build_error, translated
from ohbuild.config.sandbox import SandboxConfig
from ohbuild.docker.connection import Connection
from ohbuild.engine.find import find
from ohbuild.errors import UsageError
from ohbuild.openhands.runtime_image import RuntimeImage, describe
from ohbuild.openhands.tags import (
    BuildFromImageType,
)

_log = logging.getLogger("ohbuild.builders")


class Builds(Protocol):
    """The methods that a builder must have. OpenHands' ``RuntimeBuilder`` has them too."""

    def image_exists(self, image_name: str, pull_from_repo: bool = True, /) -> bool:
        """Checks whether an image exists."""

    def build(
        self, path: str, tags: list[str], platform: str | None = None, extra_build_args: list[str] | None = None
    ) -> str:
        """Builds an image and returns its name."""


def build_runtime_image(
    base_image: str,
    runtime_builder: Builds,
    platform: str | None = None,
    extra_deps: str | None = None,
    build_folder: str | Path | None = None,
    dry_run: bool = False,
    force_rebuild: bool = False,
    extra_build_args: list[str] | None = None,
    enable_browser: bool = True,
    plugins: Iterable[str] | None = None,
    build_args: Mapping[str, str] | None = None,
    deps_image: str | None = None,
    *,
    connect: Callable[[], Connection] = find,
) -> str:
    """Returns the name of the runtime image for a base, and builds the image unless it exists.

    Replaces OpenHands' function of the same name. ``plugins``, ``build_args``, ``deps_image`` and ``connect`` are
    additions of ohbuild. Missing component images are built first.

    Args:
        base_image: Base of the runtime image.
        runtime_builder: Checks whether the image exists, and builds it.
        platform: Platform such as ``linux/amd64``, or several separated by commas; by default the builder's, or else
            this machine's.
        extra_deps: Shell commands to run at the end of the build. ``$OH_INTERPRETER_PATH`` is the runtime's Python.
        build_folder: Folder to write the build context to; by default a temporary folder.
        dry_run: Only write the build context to ``build_folder``, if set. Nothing is built and no builder is called.
        force_rebuild: Build the image with all its tags even if it exists.
        extra_build_args: Options for the builder, such as ``--network=host``.
        enable_browser: Whether the image contains a browser.
        plugins: Agent plug-ins that the image must support, such as ``jupyter``; by default all.
        build_args: Values for the build arguments of components.
        deps_image: Existing deps image to take the layers from.
        connect: Finds the Docker Engine, whose registry is used as a mirror of Docker Hub.

    Returns:
        The ``name:tag`` to start the runtime from: ``<repository>:oh_v1.6.0_<lock>_<source>``, or the name that the
        builder returned. The repository is set by the variable ``OH_RUNTIME_RUNTIME_IMAGE_REPO``, by default
        ``ghcr.io/openhands/runtime``.

    Raises:
        AgentRuntimeBuildError: An argument is invalid, the base is not usable, or the build failed.

    Example:
        >>> with ohbuild.create_builder("docker") as builder:
        ...     name = ohbuild.build_runtime_image("debian:trixie", builder, plugins=["jupyter"])
    """
    with translated("preparing the runtime image"):
        image = describe(
            base_image,
            platform=platform or own_platform(runtime_builder),
            extra_deps=extra_deps,
            extra_build_args=extra_build_args,
            enable_browser=enable_browser,
            plugins=plugins,
            build_args=build_args,
            deps_image=deps_image,
            push=bool(getattr(runtime_builder, "push", False)),
            connect=connect,
        )
        for remark in image.remarks:
            _log.info("%s", remark)
        if dry_run:
            if build_folder is not None:
                image.write(Path(build_folder))
            return image.name
    return find_or_build(
        image, runtime_builder, build_folder=build_folder, force=force_rebuild, extra_build_args=extra_build_args
    )


def ensure_runtime_image(
    config: SandboxConfig | Mapping[str, Any] | object,
    runtime_builder: Builds,
    *,
    connect: Callable[[], Connection] = find,
) -> str:
    """Returns the name of the image for an OpenHands configuration, and builds the image unless it exists.

    If the configuration sets ``runtime_container_image``, that name is returned and nothing is checked or built.

    Args:
        config: OpenHands' configuration: a ``SandboxConfig``, a mapping, or OpenHands' own object.
        runtime_builder: Checks whether the image exists, and builds it.
        connect: Finds the Docker Engine, whose registry is used as a mirror of Docker Hub.

    Returns:
        The ``name:tag`` to start the runtime from.

    Raises:
        AgentRuntimeBuildError: The configuration is invalid, the base is not usable, or the build failed.

    Example:
        >>> config = ohbuild.SandboxConfig.from_toml("config.toml")
        >>> with ohbuild.create_builder(config=config) as builder:
        ...     name = ohbuild.ensure_runtime_image(config, builder)
    """
    with translated("reading the configuration"):
        sandbox = SandboxConfig.read(config)
    if sandbox.runtime_container_image:
        return sandbox.runtime_container_image
    return build_runtime_image(
        sandbox.base_container_image,
        runtime_builder,
        **sandbox.wanted(),
        force_rebuild=sandbox.force_rebuild_runtime,
        connect=connect,
    )


def find_or_build(
    image: RuntimeImage,
    builder: Builds,
    *,
    build_folder: str | Path | None = None,
    force: bool = False,
    extra_build_args: list[str] | None = None,
) -> str:
    """Implements ``build_runtime_image`` for a described image.

    Args:
        image: Image to find or build.
        builder: Checks whether the image exists, and builds it.
        build_folder: Folder to write the build context to; by default a temporary folder.
        force: Build the image with all its tags even if it exists.
        extra_build_args: Options for the builder.

    Raises:
        AgentRuntimeBuildError: The build failed.
    """
    if not force and builder.image_exists(image.name, False):
        _log.info("%s already exists", image.name)
        return image.name
    names = [image.name, image.lock_name, image.versioned_name]
    if not force:
        kept = {BuildFromImageType.LOCK: 1, BuildFromImageType.VERSIONED: 2}
        names = names[: kept.get(_build_from(image, builder), 3)]
    with_components = getattr(builder, "with_components", None)  # ohbuild's builders build component images themselves
    with translated("preparing the runtime image"):
        if with_components:
            image = replace(image, job=with_components(image.name, image.job))
        else:
            image = image.with_components()
    with tempfile.TemporaryDirectory(prefix="ohbuild-") as temporary:
        folder = Path(temporary if build_folder is None else build_folder)
        with translated("preparing the runtime image"):
            image.write(folder)
        # The tag depends on the platform, so the builder must not choose another.
        built = builder.build(
            path=str(folder),
            tags=names,
            platform=image.platform,
            extra_build_args=[*(extra_build_args or ()), *image.job.context_options] or extra_build_args,
        )
    if not built:
        raise build_error(f"the builder returned no name for {image.name}", Category.BUILD, "check the builder's log")
    return built


def prep_build_folder(
    build_folder: Path,
    base_image: str,
    build_from: BuildFromImageType = BuildFromImageType.SCRATCH,
    extra_deps: str | None = None,
    enable_browser: bool = True,
    *,
    platform: str | None = None,
    plugins: Iterable[str] | None = None,
    build_args: Mapping[str, str] | None = None,
    deps_image: str | None = None,
    connect: Callable[[], Connection] = find,
) -> None:
    """Writes a build context from which ``docker buildx build FOLDER`` builds the runtime image.

    The context copies from component images. Missing ones are built first, with the builder in the settings.

    Args:
        build_folder: Folder for the build context, created if it does not exist. Other files in it are kept.
        base_image: Base of the runtime image.
        build_from: ``DEPS`` if and only if ``deps_image`` is set. All other values result in the same context.
        extra_deps: Shell commands to run at the end of the build.
        enable_browser: Whether the image contains a browser.
        platform: Platform, or several separated by commas; by default that of the settings, or else this machine's.
        plugins: Agent plug-ins that the image must support; by default all.
        build_args: Values for the build arguments of components.
        deps_image: Existing deps image to take the layers from.
        connect: Finds the Docker Engine, whose registry is used as a mirror of Docker Hub.

    Raises:
        AgentRuntimeBuildError: An argument is invalid, the base is not usable, or a component could not be built.
    """
    with translated("preparing the build folder"):
        if (build_from is BuildFromImageType.DEPS) != bool(deps_image):
            raise UsageError("BuildFromImageType.DEPS and deps_image require each other", "pass both or neither")
        describe(
            base_image,
            platform=platform,
            extra_deps=extra_deps,
            enable_browser=enable_browser,
            plugins=plugins,
            build_args=build_args,
            deps_image=deps_image,
            connect=connect,
        ).with_components().write(Path(build_folder))


def own_platform(builder: object) -> str | None:
    """Returns the default platforms of a builder of ohbuild, separated by commas; ``None`` if it has none."""
    return ",".join(str(platform) for platform in getattr(builder, "platforms", ())) or None


def _build_from(image: RuntimeImage, builder: Builds) -> BuildFromImageType:
    """Returns which image already exists. Its tags are not moved to the new image, as in OpenHands."""
    if builder.image_exists(image.lock_name, False):
        return BuildFromImageType.LOCK
    if builder.image_exists(image.versioned_name, False):
        return BuildFromImageType.VERSIONED
    return BuildFromImageType.SCRATCH


def resolve_runtime_image(
    config: SandboxConfig | Mapping[str, Any] | object, *, connect: Callable[[], Connection] = find
) -> str:
    """Returns the name of the image for an OpenHands configuration, without building it or checking that it exists.

    This is ``runtime_container_image`` if the configuration sets it, or else the name that ``ensure_runtime_image``
    looks for and builds. That name depends on the configuration, the version and settings of ohbuild, and the digest of
    the base if its registry responds.

    Args:
        config: OpenHands' configuration: a ``SandboxConfig``, a mapping, or OpenHands' own object.
        connect: Finds the Docker Engine, whose registry is used as a mirror of Docker Hub.

    Returns:
        The ``name:tag`` to start the runtime from.

    Raises:
        OhbuildError: The configuration is invalid, or its base does not exist or is not usable.
    """
    sandbox = SandboxConfig.read(config)
    if sandbox.runtime_container_image:
        return sandbox.runtime_container_image
    return describe(sandbox.base_container_image, **sandbox.wanted(), connect=connect).name
