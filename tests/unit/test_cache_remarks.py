"""A cache that was not written or not used is reported at the end, as the build itself succeeded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ohbuild.bake import run
from ohbuild.bake.job import Result
from ohbuild.bake.model import Output
from ohbuild.bake.render import render
from ohbuild.bake.run import Outcome
from ohbuild.cli import github, report, summary
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.docker.failures import cache_remarks
from ohbuild.docker.progress import Progress
from ohbuild.errors import NoEngine
from tests import command
from tests.plans import IMAGE, planned
from tests.unit.test_progress import T0, T1, feed, vertex

REASON = "failed to push a.b/c:cache: unexpected status from PUT request: 507 Insufficient Storage"
EXPORT = vertex("x", "[deps] exporting cache to registry", started=T0, completed=T1, error=REASON)


@pytest.mark.parametrize(
    "name", ["exporting cache to registry", "exporting cache to client directory", "exporting cache"]
)
def test_a_failed_export_is_a_remark_on_its_target(name: str) -> None:
    several = Progress(["deps", "runtime"])
    feed(several, vertex("x", f"[runtime] {name}", started=T0, completed=T1, error=f"{REASON}\nmore"))
    assert cache_remarks(several) == {"runtime": (f"the build cache was not written: {REASON} ({name})",)}
    single = Progress(["deps"])
    feed(single, vertex("x", name, started=T0, completed=T1, error=REASON))
    assert list(cache_remarks(single)) == ["deps"]


def test_other_steps_and_a_stop_are_none() -> None:
    progress = Progress(["deps"])
    feed(
        progress,
        vertex("a", "importing cache manifest from a.b/c", started=T0, completed=T1, error="a.b/c: not found"),
        vertex("b", "[deps 1/2] COPY exporting cache", started=T0, completed=T1, error="x"),
        vertex("c", "exporting to image", started=T0, completed=T1, error="x"),
        vertex("d", "exporting cache to registry", started=T0, completed=T1, error="context canceled"),
        vertex("e", "exporting cache to inline", started=T0, completed=T1),
    )
    assert cache_remarks(progress) == {}


def outcomes(monkeypatch: pytest.MonkeyPatch, *runs: tuple[int, Sequence[str]]) -> tuple[list[Outcome], list[str]]:
    """What a bake gives whose runs of buildx end with these codes and lines, and the options of the last."""
    left = list(runs)
    options: list[str] = []

    def bake(_: Any, __: Any, ___: Any, targets: Sequence[str], *more: Any) -> tuple[int, Progress, dict[str, Any]]:
        options[:] = list(more[1]) if len(more) > 1 else []
        code, lines = left.pop(0)
        progress = Progress(targets)
        feed(progress, *lines)
        return code, progress, {name: {"containerimage.digest": f"sha256:{name}"} for name in targets}

    monkeypatch.setattr(run, "_bake", bake)
    values: dict[str, Any] = {"bases": ["debian"], "image": IMAGE, "output": "push"}
    rendered = render(planned(Settings(**values)))
    return run.run(SimpleNamespace(), rendered, Path(), lambda event: None), options  # type: ignore[arg-type]


def test_a_build_that_succeeded_has_the_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    (deps, runtime), _ = outcomes(monkeypatch, (0, [EXPORT]), (0, []))
    assert (deps.error, runtime.error) == (None, None)
    assert deps.digest
    assert [REASON in remark for remark in deps.remarks] == [True]
    assert runtime.remarks == ()


def test_a_build_that_needed_a_second_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = "ERROR: failed to solve: failed to configure registry cache exporter: invalid reference format"
    (deps, runtime), _ = outcomes(monkeypatch, (1, [failed]), (0, []), (0, []))
    assert deps.error is None
    assert deps.remarks == (
        "built without the cache, which failed: failed to solve: failed to configure registry cache exporter: invalid "
        "reference format",
    )
    assert runtime.remarks == ()


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    values: dict[str, Any] = {"bases": ["debian"], "image": IMAGE, "output": "push"}
    targets = planned(Settings(**values)).targets
    found = [
        Result(target=target, outcome=Outcome(target=target.name, digest="sha256:1"), tags=("a.b/c:d",))
        for target in targets
    ]
    component = replace(found[0], outcome=replace(found[0].outcome, remarks=("one",)))
    return [replace(component, components=(component,)), found[1]]


def test_every_report_has_it(results: list[Result]) -> None:
    assert report.remarks(results) == ["deps: one", "deps: one"]
    data = report.as_data(results)
    assert [item["remarks"] for item in data] == [["one"], []]
    assert "**Remark:** deps: one" in "".join(str(part) for part in summary.of_results(data))
    warnings = [item for item in github.of_results(results, Path()) if item.level == "warning"]
    assert [(item.title, item.message) for item in warnings] == [("Remark on deps", "one")] * 2


@pytest.mark.parametrize("error", [NoEngine("gone", "start it"), KeyboardInterrupt()])
def test_a_verification_that_cannot_run_leaves_the_results(
    error: BaseException,
    results: list[Result],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = SimpleNamespace(targets=[result.target for result in results], output=Output.PUSH)
    job = SimpleNamespace(plan=plan, remarks=[], folder=Path(".ohbuild"), run=lambda view: results)
    monkeypatch.setattr("ohbuild.cli.bake.prepare", lambda *_, **__: job)
    monkeypatch.setattr("ohbuild.signals.signal.signal", lambda *args: None)

    def find() -> Connection:
        raise error

    monkeypatch.setattr("ohbuild.cli.verify.find", find)
    code, out, err = command.run(capsys, "bake", "x", "--verify", "--json")
    data = json.loads(out)
    assert code == data["exit_code"] == (130 if isinstance(error, KeyboardInterrupt) else 3)
    assert data["ok"] is False
    assert [target["target"] for target in data["targets"]] == ["deps", "runtime-debian-latest"]
    assert "deps: one" in err
    code, out, _ = command.run(capsys, "bake", "x", "--verify")
    assert code in (3, 130)
    assert "runtime-debian" in out
