"""A runtime image that is asked for as OpenHands asks: its names, and the folder that it is built from."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ohbuild.bake.job import Job, prepare
from ohbuild.bake.render import standalone
from ohbuild.config.settings import load_for_bases
from ohbuild.docker.connection import Connection
from ohbuild.engine.find import find
from ohbuild.folder import File, write_folder
from ohbuild.images import labels as label
from ohbuild.openhands.tags import REPOSITORY_VARIABLE, Request, Tags, get_runtime_image_repo, make_tags

_log = logging.getLogger("ohbuild.builders")
# Setting → the parameter that gives it, where that has another name.
_PARAMETERS = {"bases": "base_image", "platforms": "platform", "requirements": "plugins", "image": REPOSITORY_VARIABLE}
_LOCKS = ("package-lock.json", "npm-shrinkwrap.json", "requirements.txt")


@dataclass(frozen=True, kw_only=True)
class RuntimeImage:
    """A runtime image that is there or can be built.

    Args:
        job: the run that has this image as its one runtime.
    """

    repository: str
    tags: Tags
    job: Job

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know, of the base too."""
        return self.job.remarks

    @property
    def name(self) -> str:
        """The one name that stands for this image and no other."""
        return f"{self.repository}:{self.tags.source}"

    @property
    def lock_name(self) -> str:
        return f"{self.repository}:{self.tags.lock}"

    @property
    def versioned_name(self) -> str:
        return f"{self.repository}:{self.tags.versioned}"

    @property
    def platform(self) -> str:
        """Its platforms, by comma."""
        return ",".join(str(platform) for platform in self.job.plan.runtimes[0].platforms)

    def with_components(self) -> RuntimeImage:
        """The image when all component images exist; those that are missing are built, by the settings' builder.

        Without a builder they stay missing, and the log says so: whoever builds the image may have them.

        Raises:
            OhbuildError: one could not be built.
        """
        missing = self.job.plan.missing
        if missing and self.job.builder is None:
            names = ", ".join(str(item.image) for item in missing)
            _log.warning("component images are missing, which `ohbuild deps` makes: %s", names)
        if not missing or self.job.builder is None:
            return self
        with tempfile.TemporaryDirectory(prefix="ohbuild-") as folder:
            job = replace(self.job, folder=Path(folder) / "out")
            return replace(self, job=job.with_components(lambda event: None))

    def write(self, folder: Path) -> None:
        """Write what it is built from into a folder; what else that has stays.

        Raises:
            UsageError: the folder cannot be written.
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
    """What is asked for, as an image with its names; nothing is built.

    The registries are asked about the base, as ``ohbuild bake`` asks them. One that does not answer keeps the base's
    digest out of the tags, and is no error: only the builder may be able to reach it.

    Args:
        platform: as in ``linux/amd64``; several by comma; if ``None`` that of the settings, or this machine's.
        extra_deps: shell commands at the end of the build.
        extra_build_args: options of the builder; they count for the tags.
        plugins: OpenHands' names of what the agent requires; ``None`` for everything.
        build_args: values for build arguments of components.
        deps_image: a ready deps image to use.
        push: whether it will be pushed; then missing component images go beside it.
        connect: finds the engine; it is done without if there is none.

    Raises:
        OhbuildError: all that is wrong with the request, or with the base.
    """
    repository = get_runtime_image_repo()
    asked = {
        "image": repository,
        "platforms": [platform] if platform else None,
        "extra_deps": extra_deps,
        "enable_browser": enable_browser,
        "requirements": None if plugins is None else list(plugins),
        "build_args": dict(build_args) if build_args else None,
        "deps_image": deps_image,
        "output": "push" if push else "none",
    }
    settings = load_for_bases(
        asked, [base_image], given_by=lambda setting: f"parameter {_PARAMETERS.get(setting, setting)}"
    )
    job = prepare(settings, show_only=True, connect=connect)
    request = _request(
        job, plugins=settings.requirements, enable_browser=settings.enable_browser, options=extra_build_args
    )
    return RuntimeImage(repository=repository, tags=make_tags(request), job=job)


def _request(
    job: Job,
    *,
    plugins: tuple[str, ...] | None,
    enable_browser: bool,
    options: Sequence[str] | None,
) -> Request:
    plan = job.plan
    target = plan.runtimes[0]
    assert target.base is not None
    ready: dict[str, Any] = {"components": {item.name: item.version for item in plan.components}}
    if plan.deps_image:
        ready["components"] = label.component_versions(plan.deps_image.labels)
        ready["deps_image"] = plan.deps_image.image.canonical
    return Request(
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
    """Path → SHA-256 (hex) of every lock file among some files."""
    return {
        path: hashlib.sha256(file.data).hexdigest()
        for path, file in sorted(files.items())
        if PurePosixPath(path).suffix == ".lock" or PurePosixPath(path).name in _LOCKS
    }
