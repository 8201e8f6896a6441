"""What of the server's plug-ins, and whether a browser, is in this image: it may have been made without some."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

_SITE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A file that the component has, beside the server's own.
_PLUGINS = {
    "agent_skills": os.path.join(_SITE, "openhands"),
    "jupyter": os.path.join(_SITE, "kernel_gateway"),
    "vscode": "/openhands/.openvscode-server/bin/openvscode-server",
}
_BROWSER = os.path.join(_SITE, "playwright")


def plugins() -> list[str]:
    """The names of the plug-ins that this image can serve."""
    return [name for name, path in _PLUGINS.items() if os.path.exists(path)]


def browser() -> bool:
    """Whether this image has a browser."""
    return os.path.exists(_BROWSER)


def checked(asked: Iterable[str] | None) -> list[str]:
    """The plug-ins that the server was asked for; it ends with a clear word where the image lacks one of them."""
    names = list(asked or ())
    missing = [name for name in names if name in _PLUGINS and name not in plugins()]
    if missing:
        sys.exit(
            f"plug-in {missing[0]!r} is not in this image: it was made for {', '.join(plugins()) or 'none'} "
            "(see its label dev.ohbuild.plugins)"
        )
    return names


def no_browser() -> str:
    """What an agent is told that asks for a browser which is not running."""
    text = "Browser functionality is not supported or disabled."
    return text if browser() else f"{text} This image was made without a browser (no component playwright)."
