"""ohbuild's own components: the folders in ``dockerfiles/components``."""

from __future__ import annotations

from ohbuild.assets import assets
from ohbuild.components.component import Component

# In layer order, from rarely to often changed, so that an upgrade ships as few layers as possible.
_ORDER = (
    "core tmux git tools chromium python node vscode playwright jupyter action-execution-server agent-server uv npx"
)
BUILTIN: tuple[Component, ...] = tuple(
    Component.from_folder(assets() / "dockerfiles" / "components" / name) for name in _ORDER.split()
)
