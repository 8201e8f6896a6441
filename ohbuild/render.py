"""Plan → Dockerfiles, bake file and build context. Pure: the same plan and assets give the same bytes, anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ohbuild
from ohbuild.assets import assets
from ohbuild.bakefile import CA_FILE, BakeFile, base_arguments, image_labels
from ohbuild.components import Component
from ohbuild.dockerfile import Dockerfiles, Templates, dockerfile_quote
from ohbuild.errors import OhbuildError, UsageError
from ohbuild.folder import File, empty_folder, script, write_folder
from ohbuild.model import Plan, Target

__all__ = [
    "BAKE_FILE",
    "OPAQUE",
    "Rendered",
    "image_key",
    "render",
    "standalone",
    "standalone_deps",
    "write",
]

BAKE_FILE = "docker-bake.hcl"
_CONTEXT = "context/"
_INSTALL = "system-packages/install"
_EXTRA_DEPS = "extra-deps/run"
_COMMANDS = "extra-deps/commands"
# An opaque whiteout (https://github.com/opencontainers/image-spec/blob/main/layer.md): the first layer of ours hides
# whatever a base has below /openhands, so that what is there is what was built and audited, whole.
OPAQUE = "opaque/.wh..wh..opq"
_DESCRIPTION = "An AI-agent runtime, self-contained below /openhands"


@dataclass(frozen=True)
class Rendered:
    """A self-contained folder: ``cd folder && docker buildx bake`` builds the plan.

    Parameters
    ----------
    files: path in the folder → content.
    keys: bake target → SHA-256 (hex) over everything that goes into the image.
    tags: bake target → its tags, the moving one first and the immutable one last.
    variables: name → value of the bake file's variables, to be set so that no stray environment changes the images.
    """

    plan: Plan
    files: Mapping[str, File]
    keys: Mapping[str, str]
    tags: Mapping[str, tuple[str, ...]]
    variables: Mapping[str, str]

    @property
    def hcl(self) -> str:
        return self.files[BAKE_FILE].data.decode()


def render(plan: Plan, *, root: Path | None = None, ca_bundle: bytes = b"") -> Rendered:
    """Render a plan.

    Parameters
    ----------
    root: the folder with ``dockerfiles/``, ``bake/`` and ``wrappers/``; what it lacks comes from ohbuild's own.
    ca_bundle: CA certificates (PEM) that steps which download get as the secret ``ca``; none if empty.

    Raises
    ------
    OhbuildError: a component's template or files are missing or wrong (with the component's name).
    """
    made = _make(plan, _roots(root))
    files = {_CONTEXT + name: file for name, file in made.context.items()} | dict(made.dockerfiles)
    if ca_bundle and (plan.deps or plan.executes):
        files[CA_FILE] = File(ca_bundle)
    bake = BakeFile(plan, made.keys, made.deps_ref, made.labels, has_ca=CA_FILE in files)
    files[BAKE_FILE] = File(Templates(_roots(root)).fill("bake/docker-bake.hcl.j2", **bake.variables()).encode())
    tags = {target.name: target.tags(made.keys[target.name]) for target in plan.targets}
    return Rendered(
        plan, dict(sorted(files.items())), made.keys, tags, {item["name"]: item["default"] for item in bake.inputs}
    )


def standalone(plan: Plan, target: Target, *, root: Path | None = None) -> dict[str, File]:
    """A plain build context for one runtime of a plan: ``docker buildx build FOLDER`` makes the same layers.

    The ``Dockerfile`` is at its root and needs no option: what the bake file hands over (the base, the time, build
    arguments, labels) stands in it. It has the very stages of the bake, so either finds what the other has built. The
    platforms are the builder's, or those of ``--platform``; steps that download take CA certificates as the secret
    ``ca``; for the time in the image's own config, too, give ``--build-arg SOURCE_DATE_EPOCH`` (Dockerfile frontends
    before 1.24, BuildKit's own tags say, take it from nowhere else; the layers are the same without).

    Returns
    -------
    Path in the folder → file; ``write_folder`` writes them.

    Raises
    ------
    OhbuildError: as ``render``.
    UsageError: a label of the user's is nothing that a Dockerfile can hold.
    """
    assert target.base is not None
    only = replace(plan, runtimes=(target,))
    made = _make(plan, _roots(root))
    values = {"SOURCE_DATE_EPOCH": str(plan.source_date_epoch), **base_arguments(only, target.base)}
    labels = {**made.labels, **image_labels(plan, target, made.keys, made.deps_ref, made.labels)}
    own = {name: value for name, value in made.labels.items() if name not in plan.labels}
    texts = Dockerfiles(only, _roots(root), labels=own, values=values, runtime_labels=_plain(plan, labels))
    text = texts.joined() if plan.deps else texts.runtime()
    context = {name: file for name, file in made.context.items() if target.base.system_packages or name != _INSTALL}
    return {"Dockerfile": File(text.encode()), **context}


def standalone_deps(plan: Plan, *, root: Path | None = None) -> dict[str, File]:
    """A plain build context for the deps image of a plan, as ``standalone`` is one for a runtime.

    Raises
    ------
    UsageError: the plan has a ready deps image; and as ``standalone``.
    """
    if plan.deps is None:
        raise UsageError("a ready deps image leaves nothing to build", "leave out deps_image")
    made = _make(plan, _roots(root))
    labels = {**made.labels, **image_labels(plan, plan.deps, made.keys, made.deps_ref, made.labels)}
    values = {"SOURCE_DATE_EPOCH": str(plan.source_date_epoch)}
    texts = Dockerfiles(plan, _roots(root), labels=_plain(plan, labels), values=values)
    context = {name: file for name, file in made.context.items() if name not in (_INSTALL, _EXTRA_DEPS, _COMMANDS)}
    return {"Dockerfile": File(texts.deps().encode()), **context}


def image_key(plan: Plan, target: Target, *, root: Path | None = None) -> str:
    """SHA-256 (hex) over everything that goes into the image of a target; the label ``dev.ohbuild.key`` has it.

    Raises
    ------
    OhbuildError: as ``render``.
    """
    return _make(plan, _roots(root)).keys[target.name]


@dataclass(frozen=True)
class _Made:
    """What the bake's folder and the standalone ones have in common."""

    dockerfiles: Mapping[str, File]
    context: Mapping[str, File]
    keys: Mapping[str, str]
    deps_ref: str
    labels: Mapping[str, str]


def _make(plan: Plan, roots: Sequence[Path]) -> _Made:
    labels = _labels(plan)
    # A user's labels may hold what a Dockerfile cannot, such as a line break: those are in the bake file only.
    texts = Dockerfiles(plan, roots, labels={name: value for name, value in labels.items() if name not in plan.labels})
    dockerfiles: dict[str, File] = {}
    context: dict[str, File] = {OPAQUE: File(b"")}
    keys: dict[str, str] = {}
    if plan.deps:
        components = _context(plan.stages, roots)
        dockerfiles["Dockerfile.deps"] = File(texts.deps().encode())
        keys["deps"] = _key(plan, plan.deps, {**dockerfiles, **components}, labels)
        context |= components
    deps_ref = str(plan.deps_image.image) if plan.deps_image else plan.deps.tags(keys["deps"])[1] if plan.deps else ""
    if plan.runtimes:
        runtime = {"Dockerfile.runtime": File(texts.runtime().encode())}
        if plan.deps:
            dockerfiles["Dockerfile"] = File(texts.joined().encode())
        dockerfiles |= runtime
    for target in plan.runtimes:
        assert target.base is not None
        own = _extra_deps(plan, roots)
        if target.base.system_packages:
            own[_INSTALL] = script(_asset(roots, f"dockerfiles/{_INSTALL}"))
        inputs = {**runtime, **own, "deps": File(keys.get("deps", deps_ref).encode())}
        keys[target.name] = _key(plan, target, inputs, labels)
        context |= own
    return _Made(dockerfiles, dict(sorted(context.items())), keys, deps_ref, labels)


def _extra_deps(plan: Plan, roots: Sequence[Path]) -> dict[str, File]:
    """The user's commands, and what runs them."""
    if not plan.extra_deps:
        return {}
    commands = plan.extra_deps if plan.extra_deps.endswith("\n") else f"{plan.extra_deps}\n"
    return {_EXTRA_DEPS: script(_asset(roots, f"dockerfiles/{_EXTRA_DEPS}")), _COMMANDS: File(commands.encode())}


def _roots(root: Path | None) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(folder for folder in (root, assets()) if folder))


def _plain(plan: Plan, labels: Mapping[str, str]) -> Mapping[str, str]:
    """The labels, all of which a Dockerfile can hold."""
    for name in plan.labels:
        try:
            dockerfile_quote(name + labels[name])
        except ValueError as error:
            raise UsageError(f"label {name!r}: a Dockerfile cannot hold it, it has a control character") from error
    return labels


def _labels(plan: Plan) -> dict[str, str]:
    """Labels that deps and runtimes share. A user's own come last and win."""
    labels = {
        "org.opencontainers.image.description": _DESCRIPTION,
        "org.opencontainers.image.version": plan.version,
        "org.opencontainers.image.licenses": "NOASSERTION",
        "dev.ohbuild.version": plan.version,
    }
    if plan.deps_image:
        labels.update({k: v for k, v in plan.deps_image.labels.items() if k.startswith("dev.ohbuild.")})
    else:
        labels["dev.ohbuild.components"] = ",".join(component.name for component in plan.components)
        labels.update({f"dev.ohbuild.component.{item.name}": item.version for item in plan.components})
        plugins = sorted({word for item in plan.components for word in item.plugins})
        labels.update({"dev.ohbuild.plugins": ",".join(plugins)} if plugins else {})
        labels.update({f"dev.ohbuild.build-arg.{name}": value for name, value in plan.args.items()})
    return {**labels, **plan.labels}


def _key(plan: Plan, target: Target, files: Mapping[str, File], labels: Mapping[str, str]) -> str:
    """SHA-256 over all that decides an image's content: files, base, platforms, labels, arguments, compression."""
    content = {
        "files": {path: [hashlib.sha256(file.data).hexdigest(), file.executable] for path, file in files.items()},
        "base": str(target.base.pinned) if target.base else "",
        "system_packages": list(target.base.system_packages) if target.base else [],
        "platforms": [str(platform) for platform in target.platforms],
        "labels": dict(labels),
        "source_date_epoch": plan.source_date_epoch,
        "compression": plan.compression,
        "provenance": plan.provenance,
        "repository": str(target.repository),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _context(components: Sequence[Component], roots: Sequence[Path]) -> dict[str, File]:
    """The deps build's context: wrappers, relocate, and what the components ask for."""
    files = _relocate()
    for component in components:
        own = (component.root,) if component.root else roots
        for name in component.wrappers:
            found = _find(own, f"wrappers/{name}", component)
            files[f"wrappers/{name}"] = File(found.read_bytes(), executable=True)
        for name in component.files:
            found = _find(own, f"dockerfiles/{name}", component)
            inside = sorted(found.rglob("*")) if found.is_dir() else [found]
            for path in inside:
                if path.is_file() and "__pycache__" not in path.parts:
                    relative = f"{name}/{path.relative_to(found).as_posix()}" if found.is_dir() else name
                    files[relative] = script(path)
    return files


def _relocate() -> dict[str, File]:
    folder = Path(ohbuild.__file__).parent / "relocate"
    return {f"relocate/{path.name}": File(path.read_bytes()) for path in sorted(folder.glob("*.py"))}


def _find(roots: Sequence[Path], name: str, component: Component) -> Path:
    try:
        return _asset(roots, name)
    except FileNotFoundError as error:
        raise OhbuildError(f"component {component.name!r} names {name}, which does not exist") from error


def _asset(roots: Sequence[Path], name: str) -> Path:
    """A file below the first of the roots that has it."""
    for folder in roots:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(name)


def write(rendered: Rendered, folder: Path) -> None:
    """Make ``folder`` hold exactly what was rendered, with modes and times that are the same everywhere.

    Raises
    ------
    UsageError: the folder has something in it that ohbuild did not write, or cannot be written.
    """
    empty_folder(folder, ["context", "Dockerfile", "Dockerfile.deps", "Dockerfile.runtime", CA_FILE])
    write_folder(rendered.files, folder, rendered.plan.source_date_epoch)
