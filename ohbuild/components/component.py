"""A component of ``/openhands``: one stage, one layer, its wrappers, its environment, its checks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Self, TypeVar

from ohbuild.assets import assets
from ohbuild.components.checks import Check
from ohbuild.components.lockfiles import version_in
from ohbuild.errors import OhbuildError, UsageError, nearest

DEFINITION = "component.toml"
TEMPLATE = "Dockerfile.j2"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of ``/openhands``.

    A component is one folder, read by ``Component.from_folder``: ``component.toml`` with these attributes,
    ``Dockerfile.j2`` with the stage, ``wrappers/`` with its programs, and the files that its stage copies. An extension
    registers its components in the entry-point group ``ohbuild.components``. Each entry point names an instance of this
    class or a subclass, a list of them, or a function that returns either. ``tests/plugins/ohbuild-example`` is a
    complete package.

    The stage is part of one Dockerfile. It may use any stage of the components that it requires or builds with
    (``FROM build AS <name>``, ``--mount=from=core,source=/openhands,…``). It runs on the build platform for
    ``$TARGETARCH`` and leaves its files below ``/openhands``, at paths that no other component uses. The template is
    Jinja2, with the variable ``component``.

    Attributes:
        name: ``[a-z][a-z0-9-]*``; the name of its folder and of its final Dockerfile stage.
        description: One line for people.
        version: Version in the image label ``dev.ohbuild.component.<name>``.
        versions: Folder with a lock ``<version>.txt`` for each version that can be chosen (``at``). Its stage copies
            that of ``version``; the others do not affect its key.
        requires: Components whose files it uses in a finished image. They are added to the image.
        servers: Servers that it is for. It is left out by default in images that start none of them; empty for any.
        optional: Whether it is left out by default.
        builds_with: Components whose stages it uses during the build. Their layers need not be in the image.
        plugins: Agent plug-ins that it provides (``jupyter``). The setting ``requirements`` chooses by these.
        args: Build arguments, name → default. The setting ``build_args`` overrides them. The stage declares those that
            it uses with ``ARG NAME``. They are visible in the image's history, so they must not contain secrets.
        wrappers: Files of ``wrappers/`` that its stage copies into ``/openhands/bin``, as ``wrappers/<file>``.
        files: Files or folders that its stages copy from the build context, as ``<name>/<file>``.
        env: Environment variables of the deps image and the runtime images.
        checks: Commands that ``ohbuild verify`` runs to test it in a finished image.
        folder: Its folder.
        root: The older layout, instead of ``folder``: a folder with ``dockerfiles/`` and ``wrappers/`` that several
            components share. ``files`` are then below ``dockerfiles/`` and keep their names in the build context.
        part: In the older layout, the template below ``dockerfiles/``; ``components/<name>.Dockerfile.j2`` if empty.
    """

    name: str
    description: str
    version: str
    versions: str = ""
    requires: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    optional: bool = False
    builds_with: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    folder: Path | None = None
    root: Path | None = None
    part: str = ""

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Reads a component from its folder.

        The keys of ``component.toml`` are the attributes of this class, except for ``name``: that is the folder's name.
        ``version`` is a string, or a list of two: a lock in the folder, and a package whose locked version to use.
        ``checks`` is an array of tables with the attributes of ``Check``.

        Args:
            folder: The component's folder.

        Raises:
            OhbuildError: The definition cannot be read, or a key is unknown or missing (with its path).
        """
        path = folder / DEFINITION
        try:
            data = {**tomllib.loads(path.read_text(encoding="utf-8-sig")), "name": folder.name, "folder": folder}
            if isinstance(data.get("version"), list):
                lock, package = data["version"]
                data["version"] = version_in(folder / lock, package)
            data["checks"] = tuple(_filled(Check, item) for item in data.get("checks", ()))
            return _filled(cls, data)
        except (OSError, ValueError) as error:
            raise OhbuildError(f"{path}: {getattr(error, 'strerror', None) or error}") from error

    @property
    def template(self) -> Path:
        """Path of the Jinja2 template of its stage."""
        if self.folder:
            return self.folder / TEMPLATE
        return self._root / "dockerfiles" / (self.part or f"components/{self.name}.Dockerfile.j2")

    @property
    def wrapper_sources(self) -> dict[str, Path]:
        """Its wrappers: path in the build context → file on disk."""
        folder = (self.folder or self._root) / "wrappers"
        return {f"wrappers/{name}": _own_or_shared(folder, name) for name in self.wrappers}

    @property
    def file_sources(self) -> dict[str, Path]:
        """Its files: path in the build context → file or folder on disk."""
        if self.folder:
            own = (*self.files, *([f"{self.versions}/{self.version}.txt"] if self.versions else ()))
            return {f"{self.name}/{name}": self.folder / name for name in own}
        return {name: self._root / "dockerfiles" / name for name in self.files}

    @property
    def locked(self) -> tuple[str, ...]:
        """The versions that can be chosen, newest first; empty if there is no choice."""
        if not self.folder or not self.versions:
            return ()
        found = (path.stem for path in (self.folder / self.versions).glob("*.txt"))
        return tuple(sorted(found, key=lambda text: [int(part) for part in re.findall(r"\d+", text)], reverse=True))

    def at(self, version: str) -> Self:
        """Returns the component in another version.

        Raises:
            UsageError: There is no lock of this version.
        """
        if version not in self.locked:
            known = f"choose from {', '.join(self.locked)}" if self.locked else "its version cannot be chosen"
            raise UsageError(f"there is no lock for {self.name} {version}", known)
        return replace(self, version=version)

    @property
    def _root(self) -> Path:
        return self.root or assets()


def _own_or_shared(wrappers: Path, name: str) -> Path:
    """Returns the component's own wrapper, or else the shared one with this name."""
    shared = assets() / "wrappers" / name
    return shared if shared.is_file() and not (wrappers / name).exists() else wrappers / name


def _filled(kind: type[_T], data: object) -> _T:
    """Creates an instance of a dataclass from a TOML table.

    Raises:
        ValueError: It is not a table, a key is missing, or a key is unknown (with the nearest).
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{data!r} is not a table")
    known = {item.name: item.default is MISSING and item.default_factory is MISSING for item in fields(kind)}  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            raise ValueError(f"unknown key {name!r} ({nearest(name, list(known))})")
    if missing := [name for name, required in known.items() if required and name not in data]:
        raise ValueError(f"the key {missing[0]!r} is missing")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})
