"""Plans for tests that need neither an engine nor a registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ohbuild.bake.facts import Facts
from ohbuild.bake.model import Plan
from ohbuild.bake.plan import make_plan
from ohbuild.bake.request import make_request
from ohbuild.components.component import Component
from ohbuild.config.settings import Settings
from ohbuild.images.platform import Platform
from tests.fakes import FAKES

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
DIGEST = "sha256:" + "ab" * 32
IMAGE = "localhost:5000/x/runtime"


def planned(
    settings: Settings,
    known: Sequence[Component] = FAKES,
    *,
    deps_only: bool = False,
    **facts: Any,
) -> Plan:
    """Returns the plan for settings on an amd64 machine.

    Args:
        settings: Settings of the run.
        known: All components, in layer order.
        deps_only: Whether to build only the deps image.
        facts: Fields of ``Facts``.
    """
    request = make_request(settings, known, native=AMD64, deps_only=deps_only)
    return make_plan(request, Facts(**facts))


def component_plan(
    only: Sequence[str] = (), *, known: Sequence[Component] = FAKES, there: Sequence[str] = (), **settings: Any
) -> Plan:
    """Returns the plan of component images alone, on an amd64 machine.

    Args:
        only: Names of components whose images are built; by default all.
        known: All components, in layer order.
        there: Names of components whose images exist.
        settings: Settings of the run.
    """
    values: dict[str, Any] = {"image": IMAGE, "components": only, **settings}
    request = make_request(Settings(**values), known, native=AMD64, only=only)
    images = {str(item.image): DIGEST for item in make_plan(request, Facts()).images if item.component in there}
    return make_plan(request, Facts(images=images))
