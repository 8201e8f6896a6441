"""Plans for tests, without any engine or registry."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ohbuild.bake.facts import Facts
from ohbuild.bake.model import Plan
from ohbuild.bake.plan import make_plan
from ohbuild.bake.request import make_request
from ohbuild.components.component import Component
from ohbuild.config.settings import Settings
from ohbuild.images.platform import Platform
from tests.fakes import FAKES, fake_root

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


@functools.cache
def fakes() -> Path:
    """A folder with the files of ``FAKES``."""
    return fake_root(Path(tempfile.mkdtemp(prefix="ohbuild-test-")))


def planned(
    settings: Settings,
    known: Sequence[Component] = FAKES,
    *,
    root: Path | None = None,
    deps_only: bool = False,
    **facts: Any,
) -> Plan:
    """The plan of these settings on an amd64 machine, with these facts.

    Args:
        root: where the fakes' files are; a folder of their own by default (other components have theirs).
    """
    root = root or (fakes() if known is FAKES else None)
    request = make_request(settings, known, root=root, native=AMD64, deps_only=deps_only)
    return make_plan(request, Facts(**facts))
