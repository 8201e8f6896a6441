"""Starts finished images and checks the contract of a runtime image, point by point.

``find_subjects`` looks up the images; ``verify_all`` starts and checks a few of them at a time.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from typing import Any

from ohbuild.components.component import Component
from ohbuild.components.extensions import known_components
from ohbuild.docker.client import CommandFailed, Docker
from ohbuild.docker.connection import Connection
from ohbuild.errors import RegistryError
from ohbuild.images.platform import Platform
from ohbuild.verify.container import EMULATED, Running, ServerDead, server_of, started
from ohbuild.verify.model import MODES, Mode, PointResult, State, Subject, Verdict
from ohbuild.verify.point import asked, components_of
from ohbuild.verify.points import LAST, POINTS, check, closure, point_names, promises

__all__ = ["MODES", "Listener", "Mode", "PointResult", "State", "Subject", "Verdict", "point_names", "promises",
           "verify_all"]  # fmt: skip

JOBS = 2
_PULL_SECONDS = 3600.0
_ALSO_RUNS = {"amd64": ("386",), "arm64": ("arm",)}

Listener = Callable[[Subject, "PointResult | Verdict"], None]
"""Called with each result of a point and with each verdict; from several threads, but never concurrently."""


def verify_all(
    connection: Connection,
    subjects: Sequence[Subject],
    *,
    known: Sequence[Component] | None = None,
    jobs: int = JOBS,
    listener: Listener = lambda subject, result: None,
    docker: Docker | None = None,
) -> list[Verdict]:
    """Starts images and checks them.

    All containers are removed, even after an error. An image that had to be pulled is removed when the last subject of
    its group is done, so that verifying hundreds of images does not fill the disk.

    Args:
        connection: How to reach the engine.
        subjects: What to verify.
        known: Components whose checks are run; by default ohbuild's own and those of extensions.
        jobs: How many groups of subjects to verify at a time.
        listener: Called with each result and each verdict.
        docker: Client to use; lets the caller stop the run from another thread.

    Returns:
        One verdict for each subject, in the same order.

    Raises:
        RegistryError: An image could not be pulled.
        Interrupted: ``docker`` was stopped.
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    groups: dict[str, list[Subject]] = {}
    for subject in subjects:
        groups.setdefault(subject.group or f"{subject.reference} {subject.platform}", []).append(subject)
    docker = docker or Docker(connection)
    lock = threading.Lock()

    def tell(subject: Subject, result: PointResult | Verdict) -> None:
        with lock:
            listener(subject, result)

    run = _Run(docker, known_components().components if known is None else known, tell)
    try:
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            try:
                futures = [pool.submit(run.group, group) for group in groups.values()]
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future.done():
                        future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                docker.stop()
                raise
    finally:
        # Only after the last thread has ended: the engine may still create a container for a client that was killed.
        docker.close()
    verdicts = {subject: verdict for future in futures for subject, verdict in future.result().items()}
    return [verdicts[subject] for subject in subjects]


class _Run:
    """State shared by the threads of one run."""

    def __init__(self, docker: Docker, known: Sequence[Component], listener: Listener) -> None:
        self.docker = docker
        self.checks = {component.name: component.checks for component in known}
        self.listener = listener
        self._lock = threading.Lock()
        self._users: Counter[str] = Counter()
        self._ours: dict[str, bool] = {}

    def group(self, subjects: Iterable[Subject]) -> dict[Subject, Verdict]:
        """Verifies subjects one after another, then removes the images that were pulled for them."""
        verdicts = {}
        with ExitStack() as stack:
            pulled: set[tuple[str, Platform]] = set()
            for subject in subjects:
                begin = time.monotonic()
                key = (subject.reference, subject.platform)
                if subject.digest and key not in pulled:
                    stack.enter_context(self._pulled(subject))
                    pulled.add(key)
                verdicts[subject] = self._verify(subject, begin)
                self.listener(subject, verdicts[subject])
        return verdicts

    @contextmanager
    def _pulled(self, subject: Subject) -> Iterator[None]:
        reference = subject.reference
        with self._lock:
            # Another group may use the same image for a different platform: the last group removes it.
            if not self._users[reference]:
                there = self.docker.run("image", "inspect", "--format", "there", reference).code == 0
                self._ours[reference] = not there
            self._users[reference] += 1
        try:
            words = ("pull", "--quiet", "--platform", str(subject.platform), reference)
            done = self.docker.run(*words, seconds=_PULL_SECONDS)
            if done.code:
                full = "no space left" in done.last
                hint = "free disk space on the engine" if full else "check that the registry responds"
                raise RegistryError(f"{subject.label} cannot be pulled: {done.last}", hint)
            yield
        finally:
            with self._lock:
                self._users[reference] -= 1
                if self._ours[reference] and not self._users[reference]:
                    self.docker.forget(reference)

    def _verify(self, subject: Subject, begin: float) -> Verdict:
        shown = self.docker.ask("image", "inspect", subject.reference)
        image: dict[str, Any] = json.loads(shown)[0]["Config"]
        factor = 1.0 if subject.platform.architecture in self.native else EMULATED
        sheet = _Sheet(lambda result: self.listener(subject, result))
        components = components_of(image)
        log: tuple[str, ...] = ()
        with ExitStack() as stack:
            server = server_of(subject, components)
            dead = "" if server else f"the image has no {subject.mode.server or 'server'}"
            running: Running | None = None
            try:
                running = stack.enter_context(started(self.docker, subject, image, factor, idle=bool(dead)))
                if not dead:
                    running.wait()
                    sheet.add("server", State.OK)
                else:
                    sheet.add("server", State.SKIPPED, (dead,))
            except CommandFailed as error:
                dead = "the server is not running"
                sheet.add("server", State.FAILED, (error.message,))
                log = error.log if isinstance(error, ServerDead) else ()
            # Points that do not need the server are checked in an idle container.
            beside = running
            if dead and server:
                try:
                    beside = stack.enter_context(started(self.docker, subject, image, factor, idle=True))
                except CommandFailed:
                    beside = None
            for point in POINTS:
                missing = [name for name in point.needs if name not in components]
                reason = f"the image has no {missing[0]}" if missing else dead if point.servers else ""
                if not reason and point.servers and server not in point.servers:
                    reason = f"not for the {server}"
                if beside is None or reason:
                    sheet.add(point.name, State.SKIPPED, (reason or "the container does not start",))
                else:
                    sheet.ask(point.name, partial(point.ask, beside))
            for name in components:
                if beside is None:
                    sheet.add(name, State.SKIPPED, ("the container does not start",))
                elif name not in self.checks:
                    sheet.add(name, State.SKIPPED, (f"no installed extension provides {name!r}",))
                else:
                    sheet.ask(name, partial(check, beside, name, self.checks[name]))
            if beside is not None and subject.extra:
                sheet.ask("special", partial(check, beside, "special", subject.extra))
            if beside is not None:
                sheet.ask(LAST.name, partial(LAST.ask, running or beside))
        sheet.ask("closure", partial(closure, self.docker.connection, subject))
        return Verdict(
            subject=subject,
            points=tuple(sheet.results),
            log=log,
            seconds=round(time.monotonic() - begin, 3),
            start_seconds=sheet.results[0].seconds,
        )

    @cached_property
    def native(self) -> tuple[str, ...]:
        """The architectures that the engine's machine runs without emulation."""
        machine = self.docker.ask("version", "--format", "{{.Server.Arch}}").strip()
        return machine, *_ALSO_RUNS.get(machine, ())


class _Sheet:
    """Collects results; the duration of each is the time since the previous one."""

    def __init__(self, tell: Callable[[PointResult], None]) -> None:
        self.results: list[PointResult] = []
        self._tell = tell
        self._since = time.monotonic()

    def add(self, name: str, state: State, reasons: tuple[str, ...] = ()) -> None:
        now = time.monotonic()
        result = PointResult(name=name, state=state, reasons=reasons, seconds=round(now - self._since, 3))
        self._since = now
        self.results.append(result)
        self._tell(result)

    def ask(self, name: str, question: Callable[[], Iterable[str]]) -> None:
        self.add(name, *asked(question))
