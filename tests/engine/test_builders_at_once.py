"""Builders used by several threads and processes: all builds run, up to the limit, and each can be cancelled."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from ohbuild.builders import DockerBuilder
from ohbuild.docker.connection import Connection
from ohbuild.docker.progress import Event
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.engine.contexts import SETTINGS, digest, make_context
from tests.engine.places import environment


def test_eight_at_once(engine: Connection, place: str, tmp_path: Path) -> None:
    """Each build sleeps for eight seconds in a step. One after another they would take more than a minute."""
    folders = [
        make_context(tmp_path / f"c{n}", "FROM alpine:3.23", "COPY file /", "RUN sleep 8", word=f"{place} {n}")
        for n in range(8)
    ]
    with (
        DockerBuilder(settings=SETTINGS, push=True, max_builds=8, connect=lambda: engine) as made,
        ThreadPoolExecutor(8) as pool,
    ):
        start = time.monotonic()
        names = list(pool.map(lambda n: made.build(str(folders[n]), [f"{place}/a:{n}"]), range(8)))
        seconds = time.monotonic() - start
    assert names == [f"{place}/a:{n}" for n in range(8)]
    assert seconds < 64, seconds
    with closing(Registry()) as registry:
        layers = [registry.layers(ImageRef.parse(name), Platform.parse("amd64")) for name in names]
    assert len({found[1] for found in layers}) == 8, "every image has the file of its own context"


_PROGRAM = """
import sys
from ohbuild import DockerBuilder, Settings
with DockerBuilder(settings=Settings(ca_bundle="off"), push=True, max_builds=2) as builder:
    print(builder.build(sys.argv[1], [sys.argv[2]]))
"""


def test_from_several_processes(engine: Connection, place: str, tmp_path: Path) -> None:
    folders = [make_context(tmp_path / f"c{n}", word=f"{place} {n}") for n in range(4)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(folder), f"{place}/a:{number}"],
            env=environment(engine),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, folder in enumerate(folders)
    ]
    assert [process.communicate()[0] for process in running] == [f"{place}/a:{n}\n" for n in range(4)]
    assert len({digest(f"{place}/a:{n}") for n in range(4)}) == 4


def test_no_more_than_were_allowed(engine: Connection, place: str, tmp_path: Path) -> None:
    """Counts the builds that run at the same time, across two builder objects."""
    running: set[str] = set()
    most = 0
    lock = threading.Lock()

    def listen(event: Event) -> None:
        nonlocal most
        with lock:
            if "RUN sleep" in event.step and event.kind == "start":
                running.add(event.target)
                most = max(most, len(running))
            elif "RUN sleep" in event.step and event.kind == "done":
                running.discard(event.target)

    folders = [make_context(tmp_path / f"c{n}", "FROM alpine:3.23", "COPY file /", "RUN sleep 1") for n in range(6)]
    made = [
        DockerBuilder(settings=SETTINGS, push=True, max_builds=2, connect=lambda: engine, listener=listen)
        for _ in range(2)
    ]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: made[n % 2].build(str(folders[n]), [f"{place}/a:{n}"]), range(6)))
    assert most == 2
