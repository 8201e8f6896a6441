from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ohbuild.docker.failures import classify, failed_target, is_about_cache
from ohbuild.docker.progress import Event, Progress
from ohbuild.errors import (
    AuditFailed,
    BuildFailed,
    DiskFull,
    ImageNotFound,
    InvalidDockerfile,
    NoEngine,
    OhbuildError,
    OutOfMemory,
    Place,
    RegistryError,
    RegistryRefused,
)


def vertex(digest: str, name: str, **more: Any) -> str:
    return json.dumps({"vertexes": [{"digest": digest, "name": name, **more}]})


def log(digest: str, text: str) -> str:
    return json.dumps({"logs": [{"vertex": digest, "stream": 1, "data": base64.b64encode(text.encode()).decode()}]})


T0, T1, T2 = "2026-11-21T20:00:00.123456789Z", "2026-11-21T20:00:02.623456789Z", "2026-11-21T20:00:03Z"


def feed(progress: Progress, *lines: str) -> list[Event]:
    return [event for line in lines for event in progress.feed(line)]


def test_steps_of_several_targets() -> None:
    progress = Progress(["one", "two"])
    events = feed(
        progress,
        vertex("a", "[one internal] load build definition", started=T0, completed=T0),
        vertex("b", "[one core 1/2] RUN --mount=type=secret,id=x   echo hi"),
        vertex("b", "[one core 1/2] RUN --mount=type=secret,id=x   echo hi", started=T0),
        log("b", "hi\nthere\r"),
        vertex("b", "[one core 1/2] RUN --mount=type=secret,id=x   echo hi", started=T0, completed=T1),
        vertex("c", "[two linux/arm64 core 2/2] COPY x y", started=T1, completed=T1, cached=True),
        vertex("d", "[two] exporting to image", started=T1, completed=T2),
        vertex("e", "[one core 2/2] COPY never needed"),
    )
    assert [(event.kind, event.target, event.step) for event in events if "internal" not in event.step] == [
        ("start", "one", "[core 1/2] RUN echo hi"),
        ("log", "one", "[core 1/2] RUN echo hi"),
        ("log", "one", "[core 1/2] RUN echo hi"),
        ("done", "one", "[core 1/2] RUN echo hi"),
        ("cached", "two", "[linux/arm64 core 2/2] COPY x y"),
    ]
    assert events[-2].seconds == pytest.approx(2.5, abs=0.01)
    assert progress.counts("one") == (1, 2)
    assert progress.counts("two") == (1, 1)
    assert progress.seconds("one") == pytest.approx(2.5, abs=0.01)
    assert not progress.failed()


def test_with_one_target_all_steps_are_its() -> None:
    progress = Progress(["deps"])
    events = feed(
        progress, vertex("b", "[core 1/2] COPY a b", started=T0), vertex("x", "exporting to image", started=T0)
    )
    assert [event.target for event in events] == ["deps", "deps"]
    assert progress.counts("deps") == (0, 1)


def test_a_step_of_another_build_does_not_count_with_its_time() -> None:
    progress = Progress(["one"])
    long_ago = "2026-11-21T19:00:00Z"
    feed(
        progress,
        vertex("a", "[core 1/2] COPY x y", started=long_ago, completed=long_ago, cached=True),
        vertex("b", "exporting to image", started=T0, completed=T1),
    )
    assert progress.seconds("one") == pytest.approx(2.5, abs=0.01)


def test_with_linked_targets_all_are_named() -> None:
    progress = Progress(["runtime"], ["component-core"])
    events = feed(
        progress,
        vertex("a", "[component-core core 1/2] COPY a b", started=T0),
        vertex("b", "[runtime stage-0 1/2] FROM x", started=T0),
        vertex("c", "[runtime] exporting to image", started=T0),
    )
    assert [event.target for event in events] == ["component-core", "runtime", "runtime"]
    assert [event.step for event in events] == ["[core 1/2] COPY a b", "[stage-0 1/2] FROM x", "exporting to image"]


def test_what_is_not_json_is_kept_and_cancelling_is_no_failure() -> None:
    progress = Progress(["one", "two"])
    feed(
        progress,
        "{half a line",
        vertex("a", "[one x 1/1] RUN a", started=T0, completed=T1, error="context canceled: context canceled"),
        vertex("b", "[two x 1/1] RUN b", started=T0, completed=T1, error="exit code: 137: context canceled"),
    )
    assert progress.text == ["{half a line"]
    assert progress.failed() == []


def failure(*lines: str, text: str, targets: tuple[str, ...] = ("deps",)) -> tuple[OhbuildError, Progress]:
    progress = Progress(targets)
    feed(progress, *lines, *text.splitlines())
    return classify(progress), progress


def test_a_failed_step_has_its_line_and_its_log() -> None:
    reason = 'process "/bin/sh -c false\\nmore" did not complete successfully: exit code: 7'
    error, _ = failure(
        vertex("a", "[core 2/3] RUN false", started=T0),
        log("a", "\n".join(f"line {number}" for number in range(100))),
        vertex("a", "[core 2/3] RUN false", started=T0, completed=T1, error=reason),
        text=f"Dockerfile.deps:23\n----\n  23 | >>> RUN false\n----\nERROR: failed to solve: {reason}",
    )
    assert isinstance(error, BuildFailed)
    assert error.message == "[core 2/3] RUN false: exit code: 7"
    assert error.place == Place("Dockerfile.deps", 23)
    assert error.where == "Dockerfile.deps:23"
    assert error.log[-1] == "line 99"
    assert len(error.log) == 15


def test_an_audit_failure_shows_file_and_library() -> None:
    reason = "process x did not complete successfully: exit code: 1"
    error, _ = failure(
        vertex("a", "[core 2/3] RUN audit", started=T0),
        log("a", "something\nohbuild audit: /openhands/bin/x: libfoo.so.1 not found\nohbuild audit: /y: libz\n"),
        vertex("a", "[core 2/3] RUN audit", started=T0, completed=T1, error=reason),
        text=f"ERROR: failed to solve: {reason}",
    )
    assert isinstance(error, AuditFailed)
    assert "/openhands/bin/x: libfoo.so.1 not found (and 1 more)" in error.message
    assert error.log == ("/openhands/bin/x: libfoo.so.1 not found", "/y: libz")


def test_packages_that_are_gone_are_named_with_what_to_do() -> None:
    reason = "process x did not complete successfully: exit code: 1"
    error, _ = failure(
        vertex("a", "[tmux 3/3] RUN debs", started=T0),
        log("a", "Err:1 x\nohbuild debs: the archive no longer has tmux 3.5a-3, libx 1:2; `make lock` renews the lock"),
        vertex("a", "[tmux 3/3] RUN debs", started=T0, completed=T1, error=reason),
        text=f"ERROR: failed to solve: {reason}",
    )
    assert isinstance(error, BuildFailed)
    assert error.message == "the archive no longer has tmux 3.5a-3, libx 1:2"
    assert error.hint == "`make lock` renews the lock"
    assert error.log[0] == "Err:1 x"


@pytest.mark.parametrize(
    ("said", "message", "hint", "shown"),
    [
        (
            "E: Unable to locate x\nohbuild system-packages: a.b:5/c:1@sha256:0: apt-get failed with exit code 100",
            "system packages for a.b:5/c:1: apt-get failed with exit code 100",
            "the package's name in this distribution",
            2,
        ),
        (
            "ohbuild system-packages: alpine:3.23: os-release says ID=arch: no supported package manager",
            "system packages for alpine:3.23: os-release says ID=arch: no supported package manager",
            "remove system_packages",
            0,
        ),
        (
            'runc run failed: unable to start process: exec: "/bin/sh": stat /bin/sh: no such file or directory',
            "system packages cannot be installed: the base has no shell",
            "a variant of it with a shell",
            0,
        ),
    ],
)
@pytest.mark.parametrize("stage", ["[linux/arm64 system-packages 2/2]", "[system-packages 2/2]"])
def test_a_failed_installation_tells_base_and_reason(
    said: str, message: str, hint: str, shown: int, stage: str
) -> None:
    reason = 'process "/bin/sh /run/ohbuild/install" did not complete successfully: exit code: 1'
    name = f'{stage} RUN ["/bin/sh", "/run/ohbuild/install"]'
    error, _ = failure(
        vertex("a", name, started=T0),
        log("a", said),
        vertex("a", name, started=T0, completed=T1, error=reason),
        text=f"ERROR: failed to solve: {reason}",
        targets=("runtime-x",),
    )
    assert isinstance(error, BuildFailed)
    assert error.message.startswith(message)
    assert hint in error.hint
    assert len(error.log) == shown


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        (
            "failed to solve: failed to push a.b/c:d: unexpected status from POST request: 401 Unauthorized",
            RegistryRefused,
            "pushing a.b/c:d",
            "docker login a.b",
        ),
        (
            "failed to build: failed to solve: dockerfile parse error on line 2: unknown instruction: FORM",
            InvalidDockerfile,
            "parse error on line 2",
            "",
        ),
        (
            'failed to solve: failed to compute cache key: failed to calculate checksum of ref x: "/y": not found',
            InvalidDockerfile,
            '"/y": not found',
            "",
        ),
        (
            'failed to solve: process "/bin/sh -c x" did not complete successfully: cannot allocate memory',
            OutOfMemory,
            "cannot allocate memory",
            "more memory",
        ),
        ("failed to solve: failed to push a.b/c: denied: no access", RegistryRefused, "denied", "docker login"),
        (
            'failed to solve: failed to push localhost:5009/x: failed to do request: Head "https://x": dial tcp '
            "127.0.0.1:5009: connect: connection refused",
            RegistryError,
            "localhost:5009/x",
            "the registry localhost:5009 is running",
        ),
        (
            'failed to solve: failed to push localhost:36401/denied: failed to do request: Head "https://localhost:36401/v2/'
            'denied/blobs/sha256:ac403": dial tcp 127.0.0.1:36401: connect: connection refused',
            RegistryError,
            "localhost:36401/denied",
            "the registry localhost:36401 is running",
        ),
        (
            "failed to solve: failed to push a.b/c: unexpected status from HEAD request to https://a.b/v2/c: 403 No",
            RegistryRefused,
            "a.b/c",
            "docker login a.b",
        ),
        (
            "failed to solve: failed to push h:5000/x: http: server gave HTTP response to HTTPS client",
            RegistryError,
            "h:5000/x",
            "plain HTTP",
        ),
        ("failed to solve: write /var/lib/x: no space left on device", DiskFull, "disk", "prune"),
        (
            "target runtime-a: failed to solve: b/c:1: failed to resolve source metadata for b/c:1: b/c:1: not found",
            ImageNotFound,
            "b/c:1",
            "name",
        ),
        (
            "failed to solve: failed to resolve source metadata for h.io/c:1: failed to do request: "
            "dial tcp: lookup h.io: no such host",
            RegistryError,
            "cannot be reached",
            "",
        ),
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", NoEngine, "", "engine up"),
        ('no builder "nope" found', NoEngine, "nope", "docker buildx ls"),
        ("failed to list workers: Unavailable: connection error: desc = x", NoEngine, "", ""),
        ("something nobody thought of", BuildFailed, "something nobody thought of", ""),
        ("", BuildFailed, "without a message", ""),
    ],
)
def test_errors_are_told_apart(text: str, kind: type[OhbuildError], message: str, hint: str) -> None:
    error, _ = failure(text=f"ERROR: {text}")
    assert type(error) is kind
    assert message in error.message
    assert hint in error.hint


def test_a_builder_that_does_not_start_is_no_failed_build() -> None:
    """buildx starts its containers and pods in a step of its own."""
    reason = "expected 1 replicas to be ready, got 0"
    boots = vertex("a", "[internal] booting buildkit", started=T0, completed=T1, error=reason)
    error, _ = failure(boots, text=f"ERROR: {reason}")
    assert isinstance(error, NoEngine)
    assert error.message == f"the builder does not start: {reason}"
    assert "--bootstrap" in error.hint


def test_the_culprit_is_found() -> None:
    _, named = failure(text="ERROR: target two: failed to solve: x", targets=("one", "two"))
    assert failed_target(named) == "two"
    lines = (vertex("a", "[one] exporting to image", started=T0, completed=T1, error="failed to push x"),)
    _, seen = failure(*lines, text="ERROR: failed to solve: failed to push x: y", targets=("one", "two"))
    assert failed_target(seen) == "one"
    _, unknown = failure(text="ERROR: x", targets=("one", "two"))
    assert failed_target(unknown) == ""


def test_a_cache_that_fails_is_recognised() -> None:
    _, progress = failure(text="ERROR: failed to solve: error writing layer blob: failed to export cache: x")
    assert is_about_cache(progress)
    _, progress = failure(text="ERROR: failed to solve: failed to compute cache key: not found")
    assert not is_about_cache(progress)
