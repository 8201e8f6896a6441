"""Results of runs that were never made, for tests of what is printed about them."""

from __future__ import annotations

from typing import Any

from ohbuild.bake.job import Result
from ohbuild.bake.run import Outcome
from ohbuild.config.settings import Settings
from ohbuild.errors import BuildFailed, Place
from ohbuild.verify.model import PointResult, State, Subject, Verdict
from tests.plans import AMD64, planned

DIGEST = "sha256:" + "0" * 64
FAILED = BuildFailed("it | failed", "fix `it`", place=Place("Dockerfile", 7), log=["##[error]x", "``` `"])


def results(**last: Any) -> list[Result]:
    """Returns the results of a bake of two bases: the deps image and two runtime images.

    Args:
        last: The outcome of the last one; the others were built.
    """
    values: dict[str, Any] = {"bases": ["debian:trixie", "alpine:3.23"], "image": "a.b/c"}
    found = []
    for target in planned(Settings(**values)).targets:
        outcome: dict[str, Any] = {"target": target.name, "digest": DIGEST}
        outcome |= last if target.name == "runtime-alpine-3-23" else {}
        found.append(Result(target=target, outcome=Outcome(**outcome), tags=target.tags("a" * 64)))
    return found


def verdict(*points: PointResult, log: tuple[str, ...] = ()) -> Verdict:
    """Returns the verdict on an image."""
    return Verdict(subject=Subject(label="a.b/c:1", reference="a.b/c:1", platform=AMD64), points=points, log=log)


FINE = PointResult(name="x", state=State.OK)
BROKEN = verdict(
    PointResult(name="server", state=State.FAILED, reasons=("dead|", "gone")), FINE, log=("::error::from the server",)
)
