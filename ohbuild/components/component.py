"""The parts of ``/openhands``: one component is one stage, one layer, its wrappers, its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ohbuild.components.checks import Check


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of ``/openhands``. Other packages add theirs: an instance of this class, or of one derived from it.

    A package names its components in the entry-point group ``ohbuild.components`` (a component, several in a list, or
    a function that returns either) and ships two folders below ``root``: ``dockerfiles/`` with the stage's template
    and files, ``wrappers/`` with its programs. The stage is a part of one Dockerfile: it may stand on any stage of the
    components that it requires or builds with (``FROM build AS <name>``, ``--mount=from=core,source=/openhands,…``),
    runs on the build platform for ``$TARGETARCH``, and leaves its files below ``/openhands``, where no other component
    has any. The template is Jinja2's and knows the ``component``. ``tests/plugins/ohbuild-example`` is a whole package.

    Args:
        name: ``[a-z][a-z0-9-]*``; also the name of its final Dockerfile stage.
        description: one line for people.
        version: the version that its label ``dev.ohbuild.component.<name>`` states.
        requires: names of components whose files it uses in a finished image; they come along.
        builds_with: names of components whose stages it uses while it is assembled; their layers need not be in the
            image.
        plugins: OpenHands' names of what it serves (``jupyter``), by which ``requirements`` choose it.
        args: its build arguments, name → default. ``build_args`` of the settings may give other values; its stage
            declares those it uses with ``ARG NAME``. They can be read in the image's history: no place for secrets.
        wrappers: files of ``wrappers/`` that its stage puts into ``/openhands/bin``.
        part: its Jinja2 template below ``dockerfiles/``; ``components/<name>.Dockerfile.j2`` if empty.
        files: files or folders below ``dockerfiles/`` that its stages ``COPY`` from the build context.
        env: environment variables that the deps and the runtime images set.
        checks: commands by which ``ohbuild verify`` sees in a finished image that it works.
        root: the folder with its ``dockerfiles/`` and ``wrappers/``; ``None`` for ohbuild's own.
    """

    name: str
    description: str
    version: str
    requires: tuple[str, ...] = ()
    builds_with: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    part: str = ""
    files: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    root: Path | None = None

    @property
    def template(self) -> str:
        """The path of its Dockerfile part below ``dockerfiles/``."""
        return self.part or f"components/{self.name}.Dockerfile.j2"
