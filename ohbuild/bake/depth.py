"""How many layers a runtime image has above its base."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.choice import AGENT_SERVER, choose, in_version, servers_in
from ohbuild.components.extensions import known_components
from ohbuild.config.bases import by_reference
from ohbuild.config.settings import Settings
from ohbuild.errors import OhbuildError
from ohbuild.images.reference import ImageRef


def added_layers(components: Iterable[str], *, system_packages: bool = False, extra_deps: bool = False) -> int:
    """Returns the number of layers that dockerfiles/Dockerfile.j2 adds to a base.

    Args:
        components: Names of the components in the image.
        system_packages: Whether packages are installed in the base.
        extra_deps: Whether the user's commands run at the end.
    """
    names = list(components)
    client_paths = servers_in(names)[:1] == (AGENT_SERVER,)
    return 1 + len(names) + client_paths + system_packages + extra_deps  # 1 hides the base's own /openhands


def layers_of_bases(settings: Settings, components: Iterable[str] | None = None) -> Callable[[ImageRef], int]:
    """Returns a function from a base of the settings to the number of layers that are added to it.

    Args:
        settings: The settings.
        components: Names of the components in the images; by default those that the settings choose.
    """
    configured = by_reference(settings.bases)

    @cache
    def names() -> tuple[str, ...]:  # extensions are loaded only for a base with many layers
        return tuple(_chosen(settings) if components is None else components)

    def added(base: ImageRef) -> int:
        own = configured[base.canonical].system_packages if base.canonical in configured else ()
        packages = bool(own or settings.system_packages)
        return added_layers(names(), system_packages=packages, extra_deps=bool(settings.extra_deps))

    return added


def _chosen(settings: Settings) -> Iterable[str]:
    try:
        choice = choose(
            in_version(known_components().components, AGENT_SERVER, settings.agent_server_version),
            server=settings.server,
            components=settings.components,
            requirements=settings.requirements,
            browser=settings.enable_browser,
        )
    except OhbuildError:  # a wrong choice is an error of a build, and not one of the bases
        choice = choose(BUILTIN)
    return (component.name for component in choice.components)
