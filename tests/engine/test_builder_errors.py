"""Provokes a real error of every category of AgentRuntimeBuildError."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ohbuild.builders import AgentRuntimeBuildError, Category, DockerBuilder
from ohbuild.docker.connection import Connection
from ohbuild.errors import OhbuildError
from tests.engine.places import environment, own_client, settings, small_engine
from tests.ports import free_ports

SETTINGS = settings(ca_bundle="off")
NAME = f"localhost:5000/test-{uuid.uuid4().hex[:12]}/a:1"


@pytest.fixture
def builder(engine: Connection) -> Iterator[DockerBuilder]:
    with DockerBuilder(settings=SETTINGS, push=True, connect=lambda: engine) as made:
        yield made


def folder(path: Path, *lines: str) -> str:
    path.mkdir(exist_ok=True)
    (path / "Dockerfile").write_text("\n".join(lines) + "\n")
    return str(path)


def failure(builder: DockerBuilder, path: str, name: str = NAME) -> AgentRuntimeBuildError:
    with pytest.raises(AgentRuntimeBuildError) as caught:
        builder.build(path, [name])
    assert caught.value.hint or caught.value.category is Category.BUILD or caught.value.where
    assert isinstance(caught.value.__cause__, OhbuildError)
    return caught.value


def test_context_no_dockerfile(builder: DockerBuilder, tmp_path: Path) -> None:
    error = failure(builder, str(tmp_path))
    assert error.category is Category.CONTEXT
    assert "no Dockerfile" in error.message


def test_context_a_dockerfile_that_is_none(builder: DockerBuilder, tmp_path: Path) -> None:
    error = failure(builder, folder(tmp_path, "FROM scratch", "", "COPPY a /"))
    assert (error.category, error.where) == (Category.CONTEXT, "Dockerfile:3")
    assert "COPPY" in error.message


def test_context_a_base_that_is_not_there(builder: DockerBuilder, tmp_path: Path) -> None:
    error = failure(builder, folder(tmp_path, f"FROM {NAME}-none"))
    assert error.category is Category.CONTEXT
    assert "none" in error.message


def test_resource_no_memory(builder: DockerBuilder, tmp_path: Path) -> None:
    """The step kills itself as the kernel would if memory ran out, because not all machines have limits."""
    error = failure(builder, folder(tmp_path, "FROM alpine:3.23", "RUN sh -c 'kill -9 $$; :' || exit $?"))
    assert error.category is Category.RESOURCE
    assert "137" in error.message


def test_resource_no_space(engine: Connection, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    with (tmp_path / "context" / "large").open("wb") as file:
        file.truncate(300 << 20)
    path = folder(tmp_path / "context", "FROM scratch", "COPY large /")
    with (
        small_engine(engine, tmp_path, megabytes=128) as small,
        DockerBuilder(settings=SETTINGS, connect=lambda: small) as builder,
    ):
        error = failure(builder, path, "a:1")
    assert error.category is Category.RESOURCE
    assert "full" in error.message
    assert "prune" in error.hint


def test_network_a_builder_that_is_down(engine: Connection, tmp_path: Path) -> None:
    mine = replace(engine, config_dir=own_client(engine, tmp_path))
    words = ["buildx", "create", "--name", "down", "--driver", "remote", f"tcp://127.0.0.1:{free_ports()}"]
    subprocess.run([engine.docker, *words], env=environment(mine), check=True, capture_output=True)
    path = folder(tmp_path / "context", "FROM scratch", "COPY Dockerfile /")
    with DockerBuilder(settings=SETTINGS, builder="down", connect=lambda: mine) as builder:
        error = failure(builder, path)
    assert error.category is Category.NETWORK
    assert "down" in error.message


_PROGRAM = """
import sys
from ohbuild.builders import AgentRuntimeBuildError, DockerBuilder
try:
    DockerBuilder(listener=lambda event: print(event.step, flush=True)).build(sys.argv[1], [sys.argv[2]])
except AgentRuntimeBuildError as error:
    print("caught", error.category, type(error.__cause__).__name__, flush=True)
"""


def test_cancelled_by_ctrl_c(engine: Connection, tmp_path: Path) -> None:
    path = folder(tmp_path, "FROM alpine:3.23", f"RUN echo {uuid.uuid4().hex}; sleep 60")
    command = [sys.executable, "-c", _PROGRAM, path, NAME]
    with subprocess.Popen(command, env=environment(engine), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "sleep 60" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert rest.splitlines()[-1] == "caught cancelled Interrupted"
    assert process.returncode == 0
