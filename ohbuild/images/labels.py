"""The labels that ohbuild gives images, and what they say."""

from __future__ import annotations

from collections.abc import Mapping

OURS = "dev.ohbuild."
VERSION = f"{OURS}version"
KEY = f"{OURS}key"
COMPONENTS = f"{OURS}components"
"""The names of the components, by comma, in layer order."""
COMPONENT = f"{OURS}component."
"""Begins ``…component.<name>``: the version of a component."""
COMPONENT_IMAGE = f"{OURS}component-image."
"""Begins ``…component-image.<name>.<architecture>``: the component image, by digest."""
AGENT_PLUGINS = f"{OURS}plugins"
"""OpenHands' names of what the components serve, by comma."""
BUILD_ARG = f"{OURS}build-arg."
DEPS_KEY = f"{OURS}deps.key"
DEPS_REF = f"{OURS}deps.ref"
EXTRA_DEPS = f"{OURS}extra-deps"
SYSTEM_PACKAGES = f"{OURS}system-packages"
TAG = f"{OURS}tag"


def component_names(labels: Mapping[str, str]) -> list[str]:
    """The components of an image, in layer order; none if it has no such label."""
    return [name for name in labels.get(COMPONENTS, "").split(",") if name]


def component_versions(labels: Mapping[str, str]) -> dict[str, str]:
    """Component → version."""
    return {name.removeprefix(COMPONENT): str(text) for name, text in labels.items() if name.startswith(COMPONENT)}
