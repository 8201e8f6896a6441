"""Labels that ohbuild adds to images, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping

OURS = "dev.ohbuild."
VERSION = f"{OURS}version"
KEY = f"{OURS}key"
SERVERS = f"{OURS}servers"
"""Servers of the image, separated by commas. It starts the first one."""
COMPONENTS = f"{OURS}components"
"""Names of the components in layer order, separated by commas."""
COMPONENT = f"{OURS}component."
"""Prefix of ``…component.<name>``: the version of a component."""
COMPONENT_IMAGE = f"{OURS}component-image."
"""Prefix of ``…component-image.<name>.<architecture>``: the component image by digest."""
AGENT_PLUGINS = f"{OURS}plugins"
"""Agent plug-ins that the components serve, separated by commas."""
BUILD_ARG = f"{OURS}build-arg."
DEPS_KEY = f"{OURS}deps.key"
DEPS_REF = f"{OURS}deps.ref"
EXTRA_DEPS = f"{OURS}extra-deps"
SYSTEM_PACKAGES = f"{OURS}system-packages"
TAG = f"{OURS}tag"


def component_names(labels: Mapping[str, str]) -> list[str]:
    """Returns the components of an image in layer order; empty if it has no such label."""
    return [name for name in labels.get(COMPONENTS, "").split(",") if name]


def component_versions(labels: Mapping[str, str]) -> dict[str, str]:
    """Returns the version of each component by component name."""
    return {name.removeprefix(COMPONENT): str(text) for name, text in labels.items() if name.startswith(COMPONENT)}
