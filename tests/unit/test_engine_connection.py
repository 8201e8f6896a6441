"""Finding an engine, and the configuration of its client."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from ohbuild.engine import find as connection
from ohbuild.engine import state
from ohbuild.engine.find import find
from ohbuild.engine.state import Layout, Record, write_record
from ohbuild.errors import NoEngine, UsageError
from tests.dockerd import engine_at


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(state, "_RUN", tmp_path / "run")
    return Layout(tmp_path / "state")


@pytest.fixture
def daemon_socket(tmp_path: Path) -> Iterator[Path]:
    """A socket with a server that responds like dockerd."""
    path = tmp_path / "d.sock"
    with engine_at(path):
        yield path


def _docker(folder: Path, *, buildx: bool, server: str = "exit 1") -> dict[str, str]:
    """An environment with a fake docker command on its PATH."""
    folder.mkdir(exist_ok=True)
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\ncase $1 in buildx) exit {0 if buildx else 1} ;; version) {server} ;; esac\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "DOCKER_CONFIG": str(folder)}


def test_your_own_docker_wins_and_is_used_as_it_is(place: Layout, tmp_path: Path, daemon_socket: Path) -> None:
    env = {**_docker(tmp_path / "bin", buildx=True), "DOCKER_HOST": f"unix://{daemon_socket}"}
    found = find(layout=place, environ=env)
    assert found == Connection(tmp_path / "bin/docker", None, None, None, "system")
    assert found.environment() == {}
    with pytest.raises(NoEngine, match="private engine is not running"):
        find(layout=place, environ={**env, "OHBUILD_ENGINE": "ohbuild"})


def test_a_docker_without_buildx_is_none(place: Layout, tmp_path: Path, daemon_socket: Path) -> None:
    env = {**_docker(tmp_path / "bin", buildx=False), "DOCKER_HOST": f"unix://{daemon_socket}"}
    with pytest.raises(NoEngine, match="has no buildx plugin") as caught:
        find(layout=place, environ=env)
    assert caught.value.exit_code == 3
    assert "ohbuild engine up" in caught.value.hint


def test_a_docker_that_does_not_answer_is_none(place: Layout, tmp_path: Path) -> None:
    env = {**_docker(tmp_path / "bin", buildx=True), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    with pytest.raises(NoEngine, match="nothing responds at unix://"):
        find(layout=place, environ=env)
    with pytest.raises(NoEngine, match="docker command is not installed"):
        find(layout=place, environ={"PATH": str(tmp_path)})


@pytest.mark.parametrize("server", ["echo 28.0", "echo 'Cannot connect' >&2; exit 1"])
def test_a_context_is_left_to_the_client(place: Layout, tmp_path: Path, server: str) -> None:
    env = _docker(tmp_path / "bin", buildx=True, server=server)
    (tmp_path / "bin/config.json").write_text('{"currentContext": "far"}')
    if "28" in server:
        assert find(layout=place, environ=env).origin == "system"
    else:
        with pytest.raises(NoEngine, match="failed: Cannot connect"):
            find(layout=place, environ=env)


def test_find_is_quick_where_nothing_is(place: Layout, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(NoEngine):
        find(layout=place, environ={"PATH": str(tmp_path)})
    assert time.monotonic() - started < 0.1


def test_an_unknown_choice_is_refused(place: Layout) -> None:
    with pytest.raises(UsageError, match="OHBUILD_ENGINE='mine'"):
        find(layout=place, environ={"OHBUILD_ENGINE": "mine"})


@pytest.mark.parametrize(
    ("env", "config", "where"),
    [
        ({}, {}, "unix:///var/run/docker.sock"),
        ({"DOCKER_HOST": "ssh://x"}, {}, "ssh://x"),
        ({"DOCKER_HOST": "ssh://x"}, {"currentContext": "far"}, "ssh://x"),
        ({"DOCKER_HOST": "ssh://x", "DOCKER_CONTEXT": "far"}, {}, "ssh://x"),
        ({"DOCKER_HOST": "", "DOCKER_CONTEXT": "far"}, {}, None),
        ({}, {"currentContext": 7}, "unix:///var/run/docker.sock"),
        ({"DOCKER_CONTEXT": "far"}, {}, None),
        ({}, {"currentContext": "far"}, None),
        ({}, {"currentContext": "default"}, "unix:///var/run/docker.sock"),
        ({"DOCKER_CONTEXT": "default"}, {"currentContext": "far"}, "unix:///var/run/docker.sock"),
    ],
)
def test_the_endpoint_is_what_the_client_would_take(
    env: dict[str, str], config: dict[str, object], where: str | None
) -> None:
    assert connection.endpoint(env, config) == where


def test_the_private_client_is_led_nowhere_else(tmp_path: Path) -> None:
    made = Connection(tmp_path / "docker", "unix:///x", tmp_path / "client", "localhost:5000", "ohbuild")
    env = made.environment()
    assert env["DOCKER_HOST"] == "unix:///x"
    assert env["DOCKER_CONFIG"] == str(tmp_path / "client")
    assert env["BUILDX_CONFIG"] == str(tmp_path / "client/buildx")
    assert [name for name, value in env.items() if not value] == [
        "DOCKER_CONTEXT",
        "DOCKER_TLS_VERIFY",
        "DOCKER_API_VERSION",
        "BUILDX_BUILDER",
    ]


def test_credentials_are_copied_for_us_alone_and_plugins_are_not(place: Layout) -> None:
    user = {"auths": {"r": {"auth": "x"}}, "credsStore": "pass", "currentContext": "far", "cliPluginsExtraDirs": ["/y"]}
    connection.share_credentials(place, user)
    file = place.client / "config.json"
    assert json.loads(file.read_text()) == {"auths": {"r": {"auth": "x"}}, "credsStore": "pass"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert place.client.stat().st_mode & 0o777 == 0o700


def test_a_record_of_dead_processes_is_no_engine(place: Layout, daemon_socket: Path) -> None:
    write_record(place, Record(port=1))
    place.run.mkdir(exist_ok=True)
    os.link(daemon_socket, place.socket)
    assert connection.private(place, {"DOCKER_CONFIG": str(place.dir)}) is None
