"""Renders a plan as Dockerfiles, bake file and build context. Pure: the same plan and assets give the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ohbuild.assets import assets
from ohbuild.bake.archives import client_paths, opaque_whiteout
from ohbuild.bake.bakefile import CA_FILE, BakeFile, base_arguments, runtime_labels
from ohbuild.bake.model import ComponentImage, Plan, Target
from ohbuild.bake.request import CONTEXT_PREFIX
from ohbuild.components.choice import AGENT_SERVER, servers_in
from ohbuild.components.stages import TEMPLATE
from ohbuild.components.template import Templates, component_env, dockerfile_quote
from ohbuild.errors import UsageError
from ohbuild.folder import File, empty_folder, script, write_folder
from ohbuild.images import labels as label

__all__ = ["BAKE_FILE", "Rendered", "render", "standalone", "write"]

BAKE_FILE = "docker-bake.hcl"
_CONTEXT = "context/"
_OPAQUE = "opaque.tar"
_CLIENT_PATHS = "client-paths.tar"
_INSTALL = "system-packages/install"
_EXTRA_DEPS = "extra-deps/run"
_COMMANDS = "extra-deps/commands"
# Labels of a deps image that describe its components, and therefore also apply to its runtimes.
_OF_COMPONENTS = (label.COMPONENTS, label.SERVERS, label.COMPONENT, label.AGENT_PLUGINS, label.BUILD_ARG)
_DESCRIPTION = "A self-contained AI agent runtime in /openhands"


@dataclass(frozen=True)
class Rendered:
    """A self-contained folder. ``docker buildx bake`` in it builds the plan.

    Attributes:
        plan: The plan.
        files: Files by path in the folder.
        keys: SHA-256 (hex) of everything that goes into an image, by bake target.
        tags: Tags by bake target, the moving one first and the immutable one last.
        variables: Variables of the bake file. They must be set, so that the caller's environment cannot change the
            images.
    """

    plan: Plan
    files: Mapping[str, File]
    keys: Mapping[str, str]
    tags: Mapping[str, tuple[str, ...]]
    variables: Mapping[str, str]

    @property
    def hcl(self) -> str:
        """The bake file."""
        return self.files[BAKE_FILE].data.decode()


def render(plan: Plan, *, ca_bundle: bytes = b"") -> Rendered:
    """Renders a plan.

    Args:
        plan: The plan.
        ca_bundle: CA certificates (PEM) for steps that download, passed as the secret ``ca``; empty for none.

    Raises:
        OhbuildError: A template is invalid.
    """
    templates = Templates()
    labels = _labels(plan)
    executed = _executed(plan)
    keys = _keys(plan, templates, executed, labels)
    assembly = _assembly(plan, templates, runtimes=bool(plan.runtimes))
    files = {"Dockerfile": File(assembly.encode())}
    files |= {_CONTEXT + name: file for name, file in _archives(plan).items()}
    files |= {_CONTEXT + name: file for name, file in executed.items()}
    if plan.missing:
        files["Dockerfile.components"] = File(_components(plan, templates).encode())
        files |= {_CONTEXT + name: file for name, file in plan.stages.files.items()}
    if ca_bundle and (plan.missing or plan.executes):
        files[CA_FILE] = File(ca_bundle)
    bake = BakeFile(plan, keys, {**labels, **_image_labels(plan)}, has_ca=CA_FILE in files)
    files[BAKE_FILE] = File(templates.fill("bake/docker-bake.hcl.j2", **bake.variables()).encode())
    tags = {target.name: target.tags(keys[target.name]) for target in plan.targets}
    return Rendered(plan, dict(sorted(files.items())), keys, tags, bake.inputs)


def standalone(plan: Plan, target: Target) -> dict[str, File]:
    """Renders one runtime of a plan as a plain build context. ``docker buildx build FOLDER`` builds the same layers.

    The ``Dockerfile`` at its root contains the values that a bake file would pass: base, time, labels and images. The
    component images must exist. The platforms are those of ``--platform``, or the builder's. Steps that download use
    the CA certificates of the secret ``ca``.

    ohbuild's builders read the references of the cache and the time from the Dockerfile. They pass the time as a build
    argument, because BuildKit before 0.26 takes the time of the image's config only from there.

    Returns:
        Files by path in the folder, for ``write_folder``.

    Raises:
        OhbuildError: A template is invalid.
        UsageError: A label of the user cannot be written to a Dockerfile.
    """
    assert target.base is not None
    templates = Templates()
    only = replace(plan, runtimes=(target,))
    executed = _executed(only)
    keys = _keys(only, templates, executed, _labels(plan))
    labels: dict[str, object] = {**_labels(plan), **_image_labels(plan)}
    values = base_arguments(only, target.base)
    text = _assembly(
        only,
        templates,
        runtimes=True,
        deps=None,
        epoch=str(plan.source_date_epoch),
        caches=plan.cache_from,
        base=values.pop("BASE"),
        foundation=values.pop("FOUNDATION", ""),
        arguments=dict(sorted(values.items())),
        images=_sources(plan),
        runtime_labels=_plain(plan, labels | runtime_labels(plan, keys, target)),
    )
    return {"Dockerfile": File(text.encode()), **_archives(plan), **executed}


def _sources(plan: Plan) -> dict[str, str]:
    """Returns the component images as ``FROM`` arguments for all platforms, by component."""
    if plan.from_layouts:
        return {}
    found: dict[str, str] = {}
    for name in plan.layers:
        images = [item for item in plan.images if item.component == name]
        tag = images[0].image.tag.removesuffix(images[0].platform.word)
        several = f"{images[0].image.repository}:{tag}${{TARGETARCH}}"
        found[name] = str(images[0].image) if len(images) == 1 else several
    return found


def _components(plan: Plan, templates: Templates) -> str:
    wanted = {item.component for item in plan.missing}
    return templates.fill(
        TEMPLATE,
        stages=plan.stages.stages,
        components=[name for name in plan.layers if name in wanted],
        arguments=plan.args,
        prefix=CONTEXT_PREFIX,
    )


def _assembly(plan: Plan, templates: Templates, **more: Any) -> str:
    variables: dict[str, Any] = {
        "layers": plan.layers,
        "server": next(iter(servers_in(plan.layers)), ""),
        "prefix": CONTEXT_PREFIX,
        "system_packages": plan.system_packages,
        "extra_deps": plan.extra_deps,
        "env": dict(plan.deps_image.env) if plan.deps_image else component_env(plan.components),
        "deps": plan.deps,
        "epoch": "",
        "caches": (),
        "base": "",
        "foundation": "",
        "arguments": {},
        "images": {},
        "runtime_labels": {},
    }
    return templates.fill("dockerfiles/Dockerfile.j2", **{**variables, **more})


def _archives(plan: Plan) -> dict[str, File]:
    found = {_OPAQUE: opaque_whiteout(plan.source_date_epoch)}
    return found | ({_CLIENT_PATHS: client_paths(plan.source_date_epoch)} if AGENT_SERVER in plan.layers else {})


def _executed(plan: Plan) -> dict[str, File]:
    """Returns the files executed in bases: the package installer, the user's commands and the script that runs them."""
    files: dict[str, File] = {}
    if plan.system_packages:
        files[_INSTALL] = script(assets() / "dockerfiles" / _INSTALL)
    if plan.extra_deps:
        commands = plan.extra_deps if plan.extra_deps.endswith("\n") else f"{plan.extra_deps}\n"
        files[_EXTRA_DEPS] = script(assets() / "dockerfiles" / _EXTRA_DEPS)
        files[_COMMANDS] = File(commands.encode())
    return files


def _plain(plan: Plan, labels: Mapping[str, object]) -> Mapping[str, object]:
    """Returns the labels after checking that the user's labels can be written to a Dockerfile."""
    for name in plan.labels:
        try:
            dockerfile_quote(name + plan.labels[name])
        except ValueError as error:
            what = f"label {name!r} cannot be written to a Dockerfile: it has a control character"
            raise UsageError(what, "remove the character from the label") from error
    return labels


def _labels(plan: Plan) -> dict[str, str]:
    """Returns the labels that deps and runtimes share. The user's own come last and take precedence."""
    labels = {
        "org.opencontainers.image.description": _DESCRIPTION,
        "org.opencontainers.image.version": plan.version,
        "org.opencontainers.image.licenses": "NOASSERTION",
        label.VERSION: plan.version,
    }
    if plan.deps_image:
        labels.update({k: v for k, v in plan.deps_image.labels.items() if k.startswith(_OF_COMPONENTS)})
    else:
        labels[label.COMPONENTS] = ",".join(component.name for component in plan.components)
        servers = servers_in(plan.layers)
        labels.update({label.SERVERS: ",".join(servers)} if servers else {})
        labels.update({f"{label.COMPONENT}{item.name}": item.version for item in plan.components})
        plugins = sorted({word for item in plan.components for word in item.plugins})
        labels.update({label.AGENT_PLUGINS: ",".join(plugins)} if plugins else {})
        labels.update({f"{label.BUILD_ARG}{name}": value for name, value in plan.args.items()})
    return {**labels, **plan.labels}


def _image_labels(plan: Plan) -> dict[str, str]:
    """Returns labels that name the component images, by digest if it is known; none for layouts of this machine."""
    if plan.from_layouts:
        return {}
    images: Iterable[ComponentImage] = (item for item in plan.images if item.component in plan.layers)
    return {f"{label.COMPONENT_IMAGE}{item.component}.{item.platform.word}": str(item.image) for item in images}


def _keys(plan: Plan, templates: Templates, executed: Mapping[str, File], labels: Mapping[str, str]) -> dict[str, str]:
    """Returns the SHA-256 (hex) of everything that decides an image's content, by bake target.

    Component images are included by key, because those that are not built yet have no digest.
    """
    layers = {item.component: item.key for item in plan.images if item.component in plan.layers}
    shared = {
        "layers": [[name, layers.get(name, "")] for name in plan.layers],
        "labels": dict(labels),
        "source_date_epoch": plan.source_date_epoch,
        "compression": plan.compression,
        "provenance": plan.provenance,
    }
    plain = {"runtimes": False, "deps": None, "system_packages": False, "extra_deps": ""}
    texts = {
        "deps": _assembly(plan, templates, **{**plain, "deps": True}),
        "runtime": _assembly(plan, templates, **{**plain, "runtimes": True, "extra_deps": plan.extra_deps}),
    }
    files = {name: hashlib.sha256(file.data).hexdigest() for name, file in executed.items()}
    keys: dict[str, str] = {}
    for target in (*((plan.deps,) if plan.deps else ()), *plan.runtimes):
        content = {
            **shared,
            "text": texts["runtime" if target.base else "deps"],
            "base": str(target.base.pinned) if target.base else "",
            "system_packages": list(target.base.system_packages) if target.base else [],
            "files": {
                name: digest
                for name, digest in files.items()
                if target.base and (name != _INSTALL or target.base.system_packages)
            },
            "platforms": [str(platform) for platform in target.platforms],
            "repository": str(target.repository),
        }
        keys[target.name] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return keys


def write(rendered: Rendered, folder: Path) -> None:
    """Writes exactly what was rendered to ``folder``, with modes and times that do not depend on the machine.

    Raises:
        UsageError: The folder has files that ohbuild did not write, or cannot be written.
    """
    empty_folder(folder, ["context", "Dockerfile", "Dockerfile.components", CA_FILE])
    write_folder(rendered.files, folder, rendered.plan.source_date_epoch)
