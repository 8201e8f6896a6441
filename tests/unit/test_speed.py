"""What planning costs, in CPU seconds."""

from __future__ import annotations

from typing import Any

from ohbuild.bake.render import render
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import Settings
from tests.cpu import cheapest
from tests.plans import planned


def test_five_hundred_bases_cost_no_second() -> None:
    """CPU seconds of planning and rendering for two platforms, with the real components."""
    bases = [f"ghcr.io/org/base-{number}:v{number}" for number in range(500)]
    values: dict[str, Any] = {"bases": bases, "image": "ghcr.io/x/runtime", "platforms": "linux/amd64,linux/arm64"}
    settings = Settings(**values)
    digests = {f"ghcr.io/org/base-{number}:v{number}": f"sha256:{number:064x}" for number in range(500)}

    def plan_and_render() -> str:
        return render(planned(settings, BUILTIN, digests=digests)).hcl

    assert cheapest(plan_and_render, limit=1) < 1
    assert plan_and_render().count("\n") < 1000
