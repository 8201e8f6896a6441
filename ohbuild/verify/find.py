"""Resolves image names to the images, platforms and modes to verify."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from ohbuild.docker.client import Docker
from ohbuild.docker.connection import Connection
from ohbuild.engine.connect import open_registry
from ohbuild.errors import ImageNotFound, OhbuildError, PlatformMissing, UsageError, together
from ohbuild.images import labels as label
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.verify.model import MODES, Mode, Subject
from ohbuild.verify.point import components_of


class NotRuntime(UsageError):
    """The image has no ohbuild labels, so it is not a runtime image."""


def find_subjects(
    connection: Connection,
    images: Sequence[ImageRef],
    *,
    platforms: Sequence[Platform] = (),
    modes: Sequence[Mode] = (MODES[0],),
    local: bool = False,
    skip_missing: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> list[Subject]:
    """Looks up images in parallel.

    The image in the registry takes precedence over a copy in Docker's own store, which may be older. The copy is
    used only if the registry does not have the image.

    Args:
        connection: How to reach the engine.
        images: Images to look up; duplicates are ignored.
        platforms: Platforms to verify; the engine's own if empty.
        modes: Modes to verify.
        local: Whether to use only Docker's own store, without access to a registry.
        skip_missing: Whether an image that does not exist, or not for a platform, is only a note.
        note: Called with messages for the user.

    Returns:
        One subject for each image, platform and mode.

    Raises:
        OhbuildError: An image cannot be verified; several problems are raised as one ``SeveralErrors``.
    """
    docker = Docker(connection)
    machine = docker.ask("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}").strip()
    asked = tuple(platforms) or (Platform.parse(machine),)
    with closing(Registry() if local else open_registry(connection)) as registry:

        def look(image: ImageRef) -> list[Subject] | OhbuildError:
            try:
                if local:
                    return _local(docker, image, asked, modes)
                return _in_registry(registry, image, asked, modes)
            except OhbuildError as error:
                if local or isinstance(error, (PlatformMissing, NotRuntime)):
                    return error
                try:
                    found = _local(docker, image, asked, modes)
                except OhbuildError:
                    return error
                note(f"{image}: not found in its registry, using the copy in Docker's own store")
                return found

        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = list(pool.map(look, dict.fromkeys(images)))
    wrong = [answer for answer in answers if isinstance(answer, OhbuildError)]
    if skip_missing:
        for error in wrong:
            if isinstance(error, ImageNotFound):
                note(f"skipped: {error.message}")
        wrong = [error for error in wrong if not isinstance(error, ImageNotFound)]
    if wrong:
        raise together("nothing was started", wrong)
    return [subject for answer in answers if not isinstance(answer, OhbuildError) for subject in answer]


def subjects_of(
    image: ImageRef, platforms: Sequence[Platform], modes: Sequence[Mode], digest: str = ""
) -> list[Subject]:
    """Returns one subject for each platform and mode of an image that exists.

    Args:
        image: Name of the image.
        platforms: Platforms to verify.
        modes: Modes to verify.
        digest: Digest to pin the image to; empty for a copy in Docker's own store.
    """
    reference = str(ImageRef(image.registry, image.path).pinned(digest)) if digest else str(image)
    return [
        Subject(
            label=f"{image}" if len(platforms) == 1 else f"{image} {platform}",
            reference=reference, platform=platform, mode=mode, digest=digest,
        )
        for platform in platforms
        for mode in modes
    ]  # fmt: skip


def _in_registry(
    registry: Registry, image: ImageRef, platforms: Sequence[Platform], modes: Sequence[Mode]
) -> list[Subject]:
    found = registry.inspect(image)
    missing = [str(platform) for platform in platforms if platform not in found.sizes]
    if missing:
        have = ", ".join(str(platform) for platform in found.platforms)
        message = f"{image} has no image for {', '.join(missing)}; available: {have}"
        raise PlatformMissing(message, "choose one of these with --platform")
    _check_runtime(image, {"Labels": dict(found.labels)})
    return subjects_of(image, platforms, modes, found.digest)


def _local(docker: Docker, image: ImageRef, platforms: Sequence[Platform], modes: Sequence[Mode]) -> list[Subject]:
    done = docker.run("image", "inspect", str(image))
    if done.code:
        raise UsageError(f"{image} is not in Docker's own store", "omit --local, or load the image")
    _check_runtime(image, json.loads(done.out)[0]["Config"])
    return subjects_of(image, platforms, modes)


def _check_runtime(image: ImageRef, config: dict[str, object]) -> None:
    if not components_of(config):
        raise NotRuntime(
            f"{image} is not a runtime image: it has no {label.COMPONENT}* labels",
            "specify an image built by `ohbuild bake`",
        )
