"""Plan → Dockerfiles, bake file and build context. Pure: the same plan and assets give the same bytes, anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

import ohbuild
from ohbuild.assets import assets
from ohbuild.bakefile import CA_FILE, BakeFile
from ohbuild.components import Component
from ohbuild.errors import OhbuildError, UsageError
from ohbuild.model import Plan, Target
from ohbuild.plan import CONTEXT_PREFIX, DEPS_CONTEXT

BAKE_FILE = "docker-bake.hcl"
_INSTALL = "context/system-packages/install"
# An opaque whiteout (https://github.com/opencontainers/image-spec/blob/main/layer.md): the first layer of ours hides
# whatever a base has below /openhands, so that what is there is what was built and audited, whole.
OPAQUE = "context/opaque/.wh..wh..opq"
_MARKER = "# Made by ohbuild: everything in this folder is written anew by it.\n*\n"
# What would reach into the programs of the base, which must see their own world only (DESIGN.md, decision 4).
_FORBIDDEN_ENV = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME")
_DESCRIPTION = "An AI-agent runtime, self-contained below /openhands"


@dataclass(frozen=True)
class File:
    """A file of the rendered folder."""

    data: bytes
    executable: bool = False


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


def dockerfile_quote(text: str) -> str:
    """A double-quoted word of a Dockerfile instruction that stands for ``text``; nothing in it is expanded.

    Raises
    ------
    ValueError: the text has a control character, which a Dockerfile's one-line instructions cannot hold.
    """
    if any(ord(character) < 32 or ord(character) == 127 or character in "\u0085\u2028\u2029" for character in text):
        raise ValueError(f"{text!r} has a control character")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


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
    roots = tuple(dict.fromkeys(folder for folder in (root, assets()) if folder))
    jinja = _environment(roots)
    env = _component_env(plan.components)
    shared: dict[str, Any] = {"components": plan.components, "env": env, "build_image": plan.build_image}
    shared["system_packages"] = plan.system_packages
    files: dict[str, File] = {}
    keys: dict[str, str] = {}
    labels = _labels(plan)
    if plan.deps:
        files.update(_context(plan.components, roots))
        # A user's labels may hold what a Dockerfile cannot, such as a line break: those are in the bake file only.
        shared["labels"] = {name: value for name, value in labels.items() if name not in plan.labels}
        text = _template(jinja, "dockerfiles/Dockerfile.deps.j2", **shared)
        files["Dockerfile.deps"] = File(text.encode())
        keys["deps"] = _key(plan, plan.deps, files, labels)
    deps_ref = str(plan.deps_image.image) if plan.deps_image else plan.deps.tags(keys["deps"])[1] if plan.deps else ""
    if plan.runtimes:
        sources = [DEPS_CONTEXT] if plan.deps_image else [CONTEXT_PREFIX + item.name for item in plan.components]
        if plan.deps_image:
            shared["env"] = dict(plan.deps_image.env)
        text = _template(jinja, "dockerfiles/Dockerfile.runtime.j2", sources=sources, joined=False, **shared)
        runtime_file = File(text.encode())
        if plan.deps:
            stages = [component.name for component in plan.components]
            text = _template(jinja, "dockerfiles/Dockerfile.j2", sources=stages, joined=True, **shared)
            files["Dockerfile"] = File(text.encode())
        for target in plan.runtimes:
            inputs = {"Dockerfile.runtime": runtime_file, "deps": File(keys.get("deps", deps_ref).encode())}
            assert target.base is not None
            if target.base.system_packages:
                files[_INSTALL] = inputs[_INSTALL] = _script(_asset(roots, _INSTALL.replace("context", "dockerfiles")))
            keys[target.name] = _key(plan, target, inputs, labels)
        files["Dockerfile.runtime"] = runtime_file
    if ca_bundle and (plan.deps or plan.system_packages):
        files[CA_FILE] = File(ca_bundle)
    bake = BakeFile(plan, keys, deps_ref, labels, has_ca=CA_FILE in files)
    files[BAKE_FILE] = File(_template(jinja, "bake/docker-bake.hcl.j2", **bake.variables()).encode())
    files[OPAQUE] = File(b"")
    tags = {target.name: target.tags(keys[target.name]) for target in plan.targets}
    return Rendered(
        plan, dict(sorted(files.items())), keys, tags, {item["name"]: item["default"] for item in bake.inputs}
    )


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
    return {**labels, **plan.labels}


def _component_env(components: Sequence[Component]) -> dict[str, str]:
    env: dict[str, str] = {}
    for component in components:
        for name, value in component.env.items():
            if name in _FORBIDDEN_ENV or not name.isidentifier() or not name.isascii():
                raise OhbuildError(f"component {component.name!r} may not set the variable {name!r}")
            env[name] = value
    return env


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


def _environment(roots: Sequence[Path]) -> Environment:
    folders = [str(folder / part) for folder in roots for part in ("", "dockerfiles")]
    jinja = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Dockerfiles and HCL have quoting of their own
    )
    jinja.filters["dockerfile"] = dockerfile_quote
    return jinja


def _template(jinja: Environment, name: str, **variables: Any) -> str:
    try:
        return jinja.get_template(name).render(**variables)
    except TemplateError as error:
        where = getattr(error, "name", None) or name
        raise OhbuildError(f"template {where}: {error.message or type(error).__name__}") from error
    except ValueError as error:
        raise OhbuildError(f"template {name}: {error}") from error


def _context(components: Sequence[Component], roots: Sequence[Path]) -> dict[str, File]:
    """The deps build's context: wrappers, relocate, and what the components ask for."""
    files = _relocate()
    for component in components:
        for name in component.wrappers:
            found = _find(roots, f"wrappers/{name}", component)
            files[f"context/wrappers/{name}"] = File(found.read_bytes(), executable=True)
        for name in component.files:
            found = _find(roots, f"dockerfiles/{name}", component)
            inside = sorted(found.rglob("*")) if found.is_dir() else [found]
            for path in inside:
                if path.is_file() and "__pycache__" not in path.parts:
                    relative = f"{name}/{path.relative_to(found).as_posix()}" if found.is_dir() else name
                    files[f"context/{relative}"] = _script(path)
    return files


def _script(path: Path) -> File:
    """A file; a script is executable, whatever a package manager made of its mode."""
    data = path.read_bytes()
    return File(data, executable=data.startswith(b"#!"))


def _relocate() -> dict[str, File]:
    folder = Path(ohbuild.__file__).parent / "relocate"
    return {f"context/relocate/{path.name}": File(path.read_bytes()) for path in sorted(folder.glob("*.py"))}


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


def _moment(rendered: Rendered, file: File) -> int:
    """The time of a file in nanoseconds: one second for all of them, a fraction of it for each content.

    BuildKit sends only what differs in mode, owner, size or time from what it was sent before: with one time for all,
    a file of another content and the same length would never arrive. Layers keep whole seconds.
    """
    fraction = int.from_bytes(hashlib.sha256(file.data).digest()[:8], "big") % 10**9
    return rendered.plan.source_date_epoch * 10**9 + fraction


def write(rendered: Rendered, folder: Path) -> None:
    """Make ``folder`` hold exactly what was rendered, with modes and times that are the same everywhere.

    Raises
    ------
    UsageError: the folder has something in it that ohbuild did not write, or cannot be written.
    """
    marker = folder / ".gitignore"
    ours = marker.is_file() and marker.read_text(errors="replace") == _MARKER
    try:
        if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is not empty and was not made by ohbuild", "name another with --folder")
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(_MARKER)
        if (folder / "context").is_dir():
            shutil.rmtree(folder / "context")
        for name in ("Dockerfile", "Dockerfile.deps", "Dockerfile.runtime", CA_FILE):
            (folder / name).unlink(missing_ok=True)
        for name, file in rendered.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
            path.chmod(0o755 if file.executable else 0o644)
            os.utime(path, ns=(_moment(rendered, file),) * 2)
        for path in [*(folder / "context").rglob("*"), folder / "context"]:
            if path.is_dir():
                path.chmod(0o755)
                os.utime(path, (rendered.plan.source_date_epoch,) * 2)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}", "see --folder") from error
