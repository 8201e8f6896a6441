"""What planning costs, in CPU seconds."""

from __future__ import annotations

import time
from typing import Any

from ohbuild.components import BUILTIN
from ohbuild.render import render
from ohbuild.settings import Settings
from tests.plans import planned


def test_five_hundred_bases_cost_no_second() -> None:
    """CPU seconds of planning and rendering for two platforms, with the real components."""
    bases = [f"ghcr.io/org/base-{number}:v{number}" for number in range(500)]
    values: dict[str, Any] = {"bases": bases, "image": "ghcr.io/x/runtime", "platforms": "linux/amd64,linux/arm64"}
    settings = Settings(**values)
    digests = {f"ghcr.io/org/base-{number}:v{number}": f"sha256:{number:064x}" for number in range(500)}
    spent = []
    for _ in range(3):
        start = time.process_time()
        rendered = render(planned(settings, BUILTIN, digests=digests))
        spent.append(time.process_time() - start)
    assert min(spent) < 1, spent
    assert rendered.hcl.count("\n") < 1000
