"""Detects which agent plug-ins are in this image, and whether it has a browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

_SITE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A file or folder by which each one is detected.
_PLUGINS = {
    "agent_skills": os.path.join(_SITE, "openhands"),
    "jupyter": os.path.join(_SITE, "kernel_gateway"),
    "vscode": "/openhands/.openvscode-server/bin/openvscode-server",
}
_BROWSER = os.path.join(_SITE, "playwright")


def plugins() -> list[str]:
    """Returns the names of the agent plug-ins in this image."""
    return [name for name, path in _PLUGINS.items() if os.path.exists(path)]


def browser() -> bool:
    """Whether this image has a browser."""
    return os.path.exists(_BROWSER)


def checked(asked: Iterable[str] | None) -> list[str]:
    """Returns the requested agent plug-ins.

    Raises:
        SystemExit: The image lacks one of them.
    """
    names = list(asked or ())
    missing = [name for name in names if name in _PLUGINS and name not in plugins()]
    if missing:
        sys.exit(
            f"plug-in {missing[0]!r} is not in this image (available: {', '.join(plugins()) or 'none'}; "
            "see the label dev.ohbuild.plugins)"
        )
    return names


def no_browser() -> str:
    """Returns the error for an agent that uses the browser when none is running."""
    text = "Browser functionality is not supported or disabled."
    return text if browser() else f"{text} This image was built without a browser (component playwright)."
