"""The sources of component images and their keys. Pure: the same files give the same keys."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ohbuild import relocate
from ohbuild.assets import assets
from ohbuild.components.component import Component
from ohbuild.components.template import Templates, component_part
from ohbuild.errors import OhbuildError
from ohbuild.folder import File, script

TEMPLATE = "dockerfiles/Dockerfile.components.j2"
BUILD_FILES = ("apt/debs", "locks/debian/build.lock", "locks/debian/toolchain.lock", "locks/tools/requirements.txt")
"""Files that the stages below all components copy, in addition to ``relocate``."""
STAGE = re.compile(r"^FROM\s.*\sAS\s+(\S+)\s*$", re.IGNORECASE | re.MULTILINE)
_REFERENCES = re.compile(r"^FROM\s+(?:--\S+\s+)*(\S+)|(?:--|[ ,=])from=([\w.-]+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A component's part of ``Dockerfile.components``.

    Attributes:
        component: The component.
        text: Its stages. The last one has the component's name.
        files: Its own files: path in the build context → file.
    """

    component: Component
    text: str
    files: Mapping[str, File]


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Everything that component images are built from.

    Attributes:
        stages: Parts of the components, in the order of the Dockerfile.
        common: Files that every stage may use: path in the build context → file.
        preamble: Text of the Dockerfile above the first component.
    """

    stages: tuple[Stage, ...] = ()
    common: Mapping[str, File] = field(default_factory=dict)
    preamble: str = ""

    @property
    def files(self) -> dict[str, File]:
        """The build context: path → file."""
        return {**self.common, **{name: file for stage in self.stages for name, file in stage.files.items()}}

    def built_with(self) -> dict[str, tuple[str, ...]]:
        """Returns, by component name, the other components whose stages it uses, directly or indirectly."""
        owner = {name: stage.component.name for stage in self.stages for name in STAGE.findall(stage.text)}
        found: dict[str, tuple[str, ...]] = {}
        for stage in self.stages:  # one pass is enough, because a stage can only use those above it
            own = stage.component.name
            words = (word for pair in _REFERENCES.findall(stage.text) for word in pair)
            direct = {owner[word]: None for word in words if owner.get(word, own) != own}
            found[own] = tuple(dict.fromkeys(other for name in direct for other in (*found.get(name, ()), name)))
        return found

    def keys(
        self, *, arguments: Mapping[str, str], build_image: str, source_date_epoch: int, compression: str
    ) -> dict[str, str]:
        """Returns the key of each component: a SHA-256 (hex) of everything that decides the bytes of its image.

        A key covers the text of the component's stages, its files and arguments, the keys of the components whose
        stages it uses, and everything that all stages share. It does not cover components that are needed only at run
        time (``requires``), because their files are in other images.

        Args:
            arguments: Build arguments, name → value. They override the components' defaults.
            build_image: Digest of the build image, or its reference if the digest is unknown.
            source_date_epoch: Timestamp of all files, in seconds since 1970.
            compression: Compression of the layers.
        """
        common = [self.preamble, _hashes(self.common), build_image, source_date_epoch, compression]
        built_with = self.built_with()
        keys: dict[str, str] = {}
        for stage in self.stages:
            component = stage.component
            content = {
                "common": common,
                "text": stage.text,
                "files": _hashes(stage.files),
                "arguments": {name: arguments.get(name, value) for name, value in component.args.items()},
                "built with": {name: keys[name] for name in built_with[component.name]},
            }
            keys[component.name] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return keys


def read_stages(components: Sequence[Component]) -> Stages:
    """Reads the templates and files of components.

    Args:
        components: Components in layer order, including those that others are built with.

    Raises:
        OhbuildError: A template or file is missing or not valid (with the component's name).
    """
    common = _relocate()
    for name in BUILD_FILES:
        common |= _files(assets() / "dockerfiles" / name, name)
    stages = tuple(Stage(component=item, text=component_part(item), files=_own_files(item)) for item in components)
    preamble = Templates().fill(TEMPLATE, stages=(), components=(), arguments={})
    return Stages(stages=stages, common=common, preamble=preamble)


def _own_files(component: Component) -> dict[str, File]:
    found: dict[str, File] = {}
    try:
        for name, path in component.wrapper_sources.items():
            found[name] = File(path.read_bytes(), executable=True)
        for name, path in component.file_sources.items():
            found |= _files(path, name)
    except OSError as error:
        raise OhbuildError(f"component {component.name!r}: cannot read {name}: {error.strerror}") from error
    return found


def _files(path: Path, name: str) -> dict[str, File]:
    """Returns a file, or all files of a folder, by path in the build context."""
    if not path.is_dir():
        return {name: script(path)}
    inside = (item for item in sorted(path.rglob("*")) if item.is_file() and "__pycache__" not in item.parts)
    return {f"{name}/{item.relative_to(path).as_posix()}": script(item) for item in inside}


def _relocate() -> dict[str, File]:
    folder = Path(relocate.__file__).parent
    return {f"relocate/{path.name}": File(path.read_bytes()) for path in sorted(folder.glob("*.py"))}


def _hashes(files: Mapping[str, File]) -> dict[str, list[object]]:
    return {path: [hashlib.sha256(file.data).hexdigest(), file.executable] for path, file in files.items()}
