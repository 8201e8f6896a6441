"""The place of ``openhands.runtime.utils.runtime_build`` (OpenHands 1.6.0): same functions, same calls, other images.

``build_runtime_image`` finds or builds the runtime image for a base by any ``RuntimeBuilder``. What it does not do
again is OpenHands' own: a forced rebuild without a name for the image, a tag that leaves out what the image was made
with, a dry run that writes nothing because an image is there, the name that a builder answers with thrown away.
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
    """What is asked of a builder: any ``RuntimeBuilder`` has it, OpenHands' own as well."""

    def image_exists(self, image_name: str, pull_from_repo: bool = True, /) -> bool: ...

    def build(
        self, path: str, tags: list[str], platform: str | None = None, extra_build_args: list[str] | None = None
    ) -> str: ...


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
    """The runtime image for a base: found, or built.

    Args:
        base_image: the image to put the runtime into.
        runtime_builder: is asked for the image, and builds it.
        platform: as in ``linux/amd64``; several by comma; the builder's own, or this machine's, if ``None``.
        extra_deps: shell commands at the end of the build; ``$OH_INTERPRETER_PATH`` is the runtime's Python.
        build_folder: where the build context is written; a temporary folder if ``None``.
        dry_run: write the build context and build nothing, no component image either; the builder is not asked
            anything.
        force_rebuild: build even if the image is there; it gets all its tags again.
        extra_build_args: options for the builder, as in ``--network=host``.
        enable_browser: whether the image has a browser.
        plugins: OpenHands' names of the plug-ins that the agent requires; ``None`` for everything (ohbuild's own).
        build_args: values for build arguments of components (ohbuild's own).
        deps_image: a ready deps image to take the layers from (ohbuild's own).
        connect: finds the engine, whose registry stands in for Docker Hub.

    Returns:
        The ``name:tag`` that a runtime is to use: ``<repository>:oh_v1.6.0_<lock>_<source>``, or what the builder made
        of it. The repository is the variable ``OH_RUNTIME_RUNTIME_IMAGE_REPO``.

    Raises:
        AgentRuntimeBuildError: for every failure.
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
    """The image that a configuration asks for: the ready one that it names, or ``build_runtime_image``.

    Args:
        config: OpenHands' configuration, as ``SandboxConfig.read`` takes it.

    Raises:
        AgentRuntimeBuildError: for every failure.
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
    """``build_runtime_image`` for an image that is described already; its parameters are explained there.

    Raises:
        AgentRuntimeBuildError: for every failure.
    """
    if not force and builder.image_exists(image.name, False):
        _log.info("%s is there", image.name)
        return image.name
    names = [image.name, image.lock_name, image.versioned_name]
    if not force:
        kept = {BuildFromImageType.LOCK: 1, BuildFromImageType.VERSIONED: 2}
        names = names[: kept.get(_build_from(image, builder), 3)]
    with_components = getattr(builder, "with_components", None)  # a builder of ohbuild's builds them itself
    with translated("preparing the runtime image"):
        if with_components:
            image = replace(image, job=with_components(image.name, image.job))
        else:
            image = image.with_components()
    with tempfile.TemporaryDirectory(prefix="ohbuild-") as temporary:
        folder = Path(temporary if build_folder is None else build_folder)
        with translated("preparing the runtime image"):
            image.write(folder)
        # The tag tells the platform, so it is not left to the builder.
        built = builder.build(
            path=str(folder),
            tags=names,
            platform=image.platform,
            extra_build_args=[*(extra_build_args or ()), *image.job.context_options] or extra_build_args,
        )
    if not built:
        raise build_error(f"the builder gave no name for {image.name}", Category.BUILD, "see what it logged")
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
    """Write a build context that ``docker buildx build FOLDER`` makes the runtime image of.

    It copies from component images; those that do not exist yet are built, by the builder of the settings.

    Args:
        build_folder: made if it is missing; what else it has stays.
        build_from: ``DEPS`` needs ``deps_image``; else the context is the same (see ``BuildFromImageType``).

    Raises:
        AgentRuntimeBuildError: for every failure.
    """
    with translated("preparing the build folder"):
        if (build_from is BuildFromImageType.DEPS) != bool(deps_image):
            raise UsageError("BuildFromImageType.DEPS and deps_image belong together", "give both, or neither")
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
    """The platform (or several, by comma) that a builder of ohbuild's takes where none is named."""
    return ",".join(str(platform) for platform in getattr(builder, "platforms", ())) or None


def _build_from(image: RuntimeImage, builder: Builds) -> BuildFromImageType:
    """What there is already; a name that an image has is not given away again, as in OpenHands."""
    if builder.image_exists(image.lock_name, False):
        return BuildFromImageType.LOCK
    if builder.image_exists(image.versioned_name, False):
        return BuildFromImageType.VERSIONED
    return BuildFromImageType.SCRATCH


def resolve_runtime_image(
    config: SandboxConfig | Mapping[str, Any] | object, *, connect: Callable[[], Connection] = find
) -> str:
    """The image that a runtime is to use: ``runtime_container_image``, or the name and tag to build.

    The latter depends on the configuration, on ohbuild and its settings, and on the base's digest, if its registry
    answers. Nothing is built, and no builder is asked.

    Args:
        config: as ``SandboxConfig.read`` takes it.
        connect: finds the engine, whose registry stands in for Docker Hub.

    Raises:
        OhbuildError: the configuration is wrong, or its base is not there or will not do.
    """
    sandbox = SandboxConfig.read(config)
    if sandbox.runtime_container_image:
        return sandbox.runtime_container_image
    return describe(sandbox.base_container_image, **sandbox.wanted(), connect=connect).name
