"""A build folder that OpenHands 1.6.0 has prepared → the same runtime out of ohbuild's layers.

OpenHands' ``build_runtime_image`` hands a ``RuntimeBuilder`` a folder with its sources below ``code/`` and a Dockerfile
whose steps download and install for many minutes. ohbuild has all of that ready. What such a folder asks for is read
out of it only where nothing can be lost: its sources are those of the release, and its Dockerfile is, byte for byte,
what the release's own template makes of what was read.
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

from ohbuild.bake.job import prepare
from ohbuild.bake.render import standalone
from ohbuild.builders.request import BuildRequest
from ohbuild.components.openhands import SOURCE_HASH, VERSION, source_hash
from ohbuild.config.settings import BaseSetting, Settings
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
    """What an OpenHands folder asks for.

    Args:
        base: after ``FROM``: somebody's image, or a runtime image that the new one is to be built on.
        on_runtime: the latter (OpenHands' LOCK and VERSIONED).
        extra_deps: shell commands that run last; empty for none.
    """

    base: str
    on_runtime: bool = False
    extra_deps: str = ""
    enable_browser: bool = True


def read(folder: Path) -> Asked | None:
    """What a folder asks for, if it is one that OpenHands 1.6.0 has prepared and nobody has changed."""
    try:
        text = (folder / "Dockerfile").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if not (folder / _TEMPLATES / "Dockerfile.j2").is_file():
        return None
    asked = next((asked for asked, made in _candidates(folder, text) if made == text), None)
    if asked is None:
        _log.warning("%s is not what OpenHands %s makes: it is built as it is", folder / "Dockerfile", VERSION)
        return None
    if source_hash(folder / "code" / "openhands") != SOURCE_HASH:
        _log.warning("%s has other sources than OpenHands %s: it is built as it is", folder / "code", VERSION)
        return None
    return asked


def _candidates(folder: Path, text: str) -> Iterator[tuple[Asked, str]]:
    """Everything that the Dockerfile may have been made of, and what its template makes of that."""
    base = re.match(r"FROM (\S+)\n", text)
    if not base:
        return
    found = _EXTRA_DEPS.search(text)
    extra_deps = found[1] if found else ""
    alias = os.getenv("OH_CONDA_CHANNEL_ALIAS", "").strip() or None
    # As OpenHands makes it: with Jinja's defaults.
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
    """The request, with a folder of ohbuild's in ``scratch`` if its own is an unchanged one of OpenHands 1.6.0.

    Component images that are missing are built.

    Args:
        provided: the builder.
        until: asked some times a second; once it says yes, BuildKit is told to stop.

    Raises:
        OhbuildError: the base will not do, or its registry does not answer; a component could not be built.
    """
    asked = None if request.says("file") else read(request.folder)
    if asked is None:
        return request

    connection = provided[0].connection
    base = ImageRef.parse(asked.base)
    if asked.on_runtime:
        known = _below(base, connection)
        if known is None:
            _log.warning("%s was not made by ohbuild: the image is built on it as OpenHands says", base)
            return request
        base, asked = known[0], replace(asked, enable_browser=known[1])
    _log.info("%s: ohbuild's layers for OpenHands %s, on %s", request.tags[0], VERSION, base)
    update: dict[str, object] = {
        "bases": (BaseSetting(image=base),),
        "platforms": request.platforms,
        "extra_deps": asked.extra_deps,
        "enable_browser": asked.enable_browser and settings.enable_browser,
        "image": ImageRef(request.tags[0].registry, request.tags[0].path),
    }
    job = prepare(settings.model_copy(update=update), show_only=True, connect=lambda: connection)
    job = job.on(*provided, scratch / "components").with_components(listener, until)
    folder = scratch / "openhands"
    write_folder(standalone(job.plan, job.plan.runtimes[0]), folder, job.plan.source_date_epoch)
    options = (*request.options, *job.context_options)
    return replace(request, folder=folder, platforms=job.plan.runtimes[0].platforms, options=options)


def _below(image: ImageRef, connection: Connection) -> tuple[ImageRef, bool] | None:
    """What a runtime image of ohbuild's stands on, and whether it has a browser; ``None`` if it is not ohbuild's."""
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
