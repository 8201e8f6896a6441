"""A runtime image that is asked for as OpenHands asks: its names, and the folder that it is built from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ohbuild.engine import Connection, find
from ohbuild.errors import RegistryError
from ohbuild.folder import File, write_folder
from ohbuild.job import Job, prepare
from ohbuild.model import Plan
from ohbuild.render import standalone
from ohbuild.settings import load_for_bases
from ohbuild.tags import Request, Tags, get_runtime_image_repo, make_tags

_COMPONENT_LABEL = "dev.ohbuild.component."
_LOCKS = ("poetry.lock", "package-lock.json", "npm-shrinkwrap.json", "requirements.txt")


@dataclass(frozen=True, kw_only=True)
class RuntimeImage:
    """A runtime image that is there or can be built.

    Parameters
    ----------
    plan: with this image as its one runtime.
    files: what the folder has that it is built from.
    remarks: what is known of the base that the user should know, too.
    """

    repository: str
    tags: Tags
    plan: Plan
    files: Mapping[str, File]
    remarks: tuple[str, ...] = ()

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
        return ",".join(str(platform) for platform in self.plan.runtimes[0].platforms)

    def write(self, folder: Path) -> None:
        """Write what it is built from into a folder; what else that has stays.

        Raises
        ------
        UsageError: the folder cannot be written.
        """
        write_folder(self.files, folder, self.plan.source_date_epoch)


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
    connect: Callable[[], Connection] = find,
) -> RuntimeImage:
    """What is asked for, as an image with its names; nothing is built.

    The registries are asked about the base, as ``ohbuild bake`` asks them. One that does not answer keeps the base's
    digest out of the tags, and is no error: only the builder may be able to reach it.

    Parameters
    ----------
    platform: as in ``linux/amd64``; several by comma; if ``None`` that of the settings, or this machine's.
    extra_deps: shell commands at the end of the build.
    extra_build_args: options of the builder; they count for the tags.
    plugins: OpenHands' names of what the agent requires; ``None`` for everything.
    build_args: values for build arguments of components.
    deps_image: a ready deps image to use.
    connect: finds the engine; it is done without if there is none.

    Raises
    ------
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
        "output": "none",
    }
    settings = load_for_bases(asked, [base_image])
    job = prepare(settings, show_only=True, connect=connect)
    plan = job.plan
    if plan.deps_image and not plan.deps_image.labels:
        raise RegistryError(
            f"deps image {plan.deps_image.image}: its registry does not answer, so it is not known what is in it",
            "check the name and the network",
        )
    files = standalone(plan, plan.runtimes[0])
    request = _request(
        job, files, plugins=settings.requirements, enable_browser=settings.enable_browser, options=extra_build_args
    )
    return RuntimeImage(repository=repository, tags=make_tags(request), plan=plan, files=files, remarks=job.remarks)


def _request(
    job: Job,
    files: Mapping[str, File],
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
        labels = plan.deps_image.labels
        ready["components"] = {
            name.removeprefix(_COMPONENT_LABEL): version
            for name, version in labels.items()
            if name.startswith(_COMPONENT_LABEL)
        }
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
        locks={**lock_files(files), "build image": plan.build_image.canonical},
        source=job.rendered.keys[target.name],
        **ready,
    )


def lock_files(files: Mapping[str, File]) -> dict[str, str]:
    """Path → SHA-256 (hex) of every lock file among some files."""
    return {
        path: hashlib.sha256(file.data).hexdigest()
        for path, file in sorted(files.items())
        if PurePosixPath(path).name in _LOCKS
    }
