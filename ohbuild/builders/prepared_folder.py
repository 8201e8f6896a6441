"""Replaces a build folder prepared by OpenHands 1.6.0 with one that builds the same runtime from ohbuild's layers.

OpenHands' ``build_runtime_image`` passes a ``RuntimeBuilder`` a folder with its sources in ``code/`` and a Dockerfile
that downloads and installs packages for many minutes. ohbuild's layers already contain all of this. A folder is
replaced only if nothing can get lost: its sources must be those of the release, and its Dockerfile must be, byte for
byte, what the release's template renders from the parameters found in it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, TemplateError

from ohbuild.bake.facts import Purpose
from ohbuild.bake.job import prepare
from ohbuild.bake.render import standalone
from ohbuild.builders.request import BuildRequest
from ohbuild.components.choice import ACTION_EXECUTION_SERVER
from ohbuild.components.openhands import SOURCE_HASH, VERSION, source_hash
from ohbuild.config.bases import BaseSetting
from ohbuild.config.settings import Settings
from ohbuild.docker.buildx import Builder, Buildx
from ohbuild.docker.connection import Connection
from ohbuild.docker.supervise import Listener
from ohbuild.engine.connect import open_registry
from ohbuild.errors import OhbuildError
from ohbuild.folder import write_folder
from ohbuild.images import labels as label
from ohbuild.images.reference import ImageRef

_log = logging.getLogger("ohbuild.builders")
_TEMPLATES = Path("code/openhands/runtime/utils/runtime_templates")
_EXTRA_DEPS = re.compile(
    r"# Install extra dependencies if specified \(as openhands user\)\n\nUSER openhands\nRUN (.*?)\n\n\n"
    r"# Set up environment for openhands user\nUSER root\n",
    re.S,
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The parameters of a folder prepared by OpenHands.

    Attributes:
        base: Image after ``FROM``: a base, or an existing runtime image to build on.
        on_runtime: Whether ``base`` is a runtime image (OpenHands' LOCK and VERSIONED).
        extra_deps: Shell commands that run at the end of the build; empty for none.
        enable_browser: Whether the image contains a browser.
    """

    base: str
    on_runtime: bool = False
    extra_deps: str = ""
    enable_browser: bool = True


def read(folder: Path) -> Asked | None:
    """Returns the parameters of a folder prepared by OpenHands 1.6.0; ``None`` for any other or a modified folder."""
    try:
        text = (folder / "Dockerfile").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if not (folder / _TEMPLATES / "Dockerfile.j2").is_file():
        return None
    asked = next((asked for asked, made in _candidates(folder, text) if made == text), None)
    if asked is None:
        _log.warning("%s differs from that of OpenHands %s: building it as is", folder / "Dockerfile", VERSION)
        return None
    if source_hash(folder / "code" / "openhands") != SOURCE_HASH:
        _log.warning("%s differs from that of OpenHands %s: building it as is", folder / "code", VERSION)
        return None
    return asked


def _candidates(folder: Path, text: str) -> Iterator[tuple[Asked, str]]:
    """Yields the parameters that the Dockerfile may have been rendered from, each with the Dockerfile they render."""
    base = re.match(r"FROM (\S+)\n", text)
    if not base:
        return
    found = _EXTRA_DEPS.search(text)
    extra_deps = found[1] if found else ""
    alias = os.getenv("OH_CONDA_CHANNEL_ALIAS", "").strip() or None
    # OpenHands renders with Jinja's defaults.
    jinja = Environment(loader=FileSystemLoader(folder / _TEMPLATES))
    for kind, enable_browser in product(("scratch", "versioned", "lock"), (True, False)):
        asked = Asked(base=base[1], on_runtime=kind != "scratch", extra_deps=extra_deps, enable_browser=enable_browser)
        try:
            made = jinja.get_template("Dockerfile.j2").render(
                base_image=base[1],
                build_from_scratch=kind == "scratch",
                build_from_versioned=kind == "versioned",
                extra_deps=extra_deps,
                enable_browser=enable_browser,
                channel_alias=alias,
            )
        except TemplateError:
            return
        yield asked, made


def replaced(
    request: BuildRequest,
    scratch: Path,
    settings: Settings,
    provided: tuple[Buildx, Builder],
    listener: Listener,
    until: Callable[[], bool],
) -> BuildRequest:
    """Replaces the folder of a request if OpenHands 1.6.0 prepared it and it is unmodified.

    Missing component images are built.

    Args:
        request: The build.
        scratch: Temporary folder for the new build folder.
        settings: Settings of ohbuild.
        provided: The buildx builder.
        listener: Called with BuildKit's events.
        until: Polled several times a second; the build is stopped as soon as it returns true.

    Returns:
        The request with a folder in ``scratch``, or the unchanged request.

    Raises:
        OhbuildError: The base is not usable, its registry does not respond, or a component could not be built.
    """
    asked = None if request.says("file") else read(request.folder)
    if asked is None:
        return request

    connection = provided[0].connection
    base = ImageRef.parse(asked.base)
    if asked.on_runtime:
        known = _below(base, connection)
        if known is None:
            _log.warning("%s was not built by ohbuild: building on it with OpenHands' Dockerfile", base)
            return request
        base, asked = known[0], replace(asked, enable_browser=known[1])
    _log.info("%s: using ohbuild's layers for OpenHands %s on %s", request.tags[0], VERSION, base)
    update: dict[str, object] = {
        "bases": (BaseSetting(image=base),),
        "server": ACTION_EXECUTION_SERVER,
        "platforms": request.platforms,
        "extra_deps": asked.extra_deps,
        "enable_browser": asked.enable_browser and settings.enable_browser,
        "image": ImageRef(request.tags[0].registry, request.tags[0].path),
    }
    job = prepare(settings.model_copy(update=update), purpose=Purpose.SHOW, connect=lambda: connection)
    job = job.on(*provided, scratch / "components").with_components(listener, until)
    folder = scratch / "openhands"
    write_folder(standalone(job.plan, job.plan.runtimes[0]), folder, job.plan.source_date_epoch)
    options = (*request.options, *job.context_options)
    return replace(request, folder=folder, platforms=job.plan.runtimes[0].platforms, options=options)


def _below(image: ImageRef, connection: Connection) -> tuple[ImageRef, bool] | None:
    """Returns the base of a runtime image and whether it contains a browser; ``None`` if ohbuild did not build it."""
    local = Buildx(connection).local_config(image)
    labels = dict(local.labels) if local else {}
    if not labels:
        with closing(open_registry(connection)) as registry:
            try:
                labels = dict(registry.inspect(image).labels)
            except OhbuildError:
                return None
    name = labels.get("org.opencontainers.image.base.name", "")
    if not name or label.KEY not in labels:
        return None
    base = ImageRef.parse(name)
    digest = labels.get("org.opencontainers.image.base.digest", "")
    return (base.pinned(digest) if digest else base), "playwright" in label.component_names(labels)
