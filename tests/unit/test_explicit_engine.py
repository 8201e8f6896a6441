"""What the user names explicitly is used or is an error: an engine, a builder; Podman is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.facts import Purpose
from ohbuild.bake.job import prepare
from ohbuild.bake.preflight import check_bases
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.engine import control, find, state
from ohbuild.engine.connect import connect_builder, reach
from ohbuild.engine.errors import UnmetChoice
from ohbuild.engine.find import NamedBuilder, named_builder
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import Layout
from ohbuild.errors import ExitCode, NoEngine, OhbuildError
from tests.dockerd import engine_at
from tests.fakes import FAKES

_KNOWN = "Name: {0}\nDriver: remote\n\nNodes:\nName: {0}0\nEndpoint: tcp://far:1\nStatus: running\n"
# As podman 5 answers: `podman-docker` installs a script that says first what it is.
_PODMAN = """\
echo 'Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.' >&2
case $1 in
  --version) echo 'podman version 5.4.2' ;;
  version) printf 'Client:       Podman Engine\\nVersion:      5.4.2\\nAPI Version:  5.4.2\\n' ;;
  buildx) [ "$2" = version ] && echo 'buildah 1.39.3' || exit 125 ;;
  *) echo "Error: unrecognized command $1" >&2; exit 125 ;;
esac
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(state, "_RUN", tmp_path / "run")
    return Layout(tmp_path / "state")


@pytest.fixture
def private(place: Layout, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A private engine that runs, as far as ``find`` can see."""
    made = Connection(place.bin / "docker", place.host, place.client, "localhost:5000", "ohbuild")
    monkeypatch.setattr(find, "private", lambda layout, env: made)
    return made


def client(folder: Path, script: str) -> dict[str, str]:
    """Returns an environment with this script as its docker command."""
    folder.mkdir(exist_ok=True)
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/asked\n{script}')
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "DOCKER_CONFIG": str(folder)}


def dead(folder: Path) -> dict[str, str]:
    """Returns an environment with a client whose engine does not respond, whichever that is."""
    return client(folder, 'echo "Cannot connect to the Docker daemon at ${DOCKER_HOST:-x}." >&2; exit 1\n')


def buildx(folder: Path, name: str = "far") -> dict[str, str]:
    """Returns an environment with a client that has no engine, and knows one builder on another machine."""
    (folder / "described").parent.mkdir(exist_ok=True)
    (folder / "described").write_text(_KNOWN.format(name))
    return client(
        folder,
        f"""\
[ "$1" = --version ] && echo 'Docker version 28.0.4, build b8034c0'
case "$*" in
  *'buildx inspect --builder={name}') cat {folder}/described ;;
  *'buildx inspect '*) echo "ERROR: no builder \\"${{*##*--builder=}}\\" found" >&2; exit 1 ;;
  *) exit 1 ;;
esac
""",
    )


def set_environment(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)


# --- engines


@pytest.mark.parametrize(
    ("given", "config", "told"),
    [
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, {}, "DOCKER_HOST=tcp://127.0.0.1:1 cannot be used: .*Cannot connect"),
        ({"DOCKER_HOST": "unix:///no.sock"}, {}, "DOCKER_HOST=unix:///no.sock cannot be used: nothing responds at"),
        ({"DOCKER_CONTEXT": "far"}, {}, "DOCKER_CONTEXT=far cannot be used: .*Cannot connect"),
        ({}, {"currentContext": "far"}, "the current context 'far' .* cannot be used: .*Cannot connect"),
    ],
)
def test_an_engine_that_is_named_and_does_not_respond_is_an_error(
    place: Layout, tmp_path: Path, private: Connection, given: dict[str, str], config: dict[str, str], told: str
) -> None:
    env = {**dead(tmp_path / "bin"), **given}
    (tmp_path / "bin/config.json").write_text(json.dumps(config))
    for wanted in ("", "auto", "system"):
        with pytest.raises(UnmetChoice, match=told) as caught:
            find.find(layout=place, environ={**env, "OHBUILD_ENGINE": wanted})
        assert caught.value.exit_code == ExitCode.NO_ENGINE
        assert "OHBUILD_ENGINE=ohbuild" in caught.value.hint
    assert find.find(layout=place, environ={**env, "OHBUILD_ENGINE": "ohbuild"}) is private


def test_it_is_an_error_without_a_docker_client_and_without_buildx_too(
    place: Layout, tmp_path: Path, private: Connection
) -> None:
    with pytest.raises(UnmetChoice, match=r"DOCKER_HOST=ssh://x cannot be used: the docker command is not installed"):
        find.find(layout=place, environ={"PATH": str(tmp_path), "DOCKER_HOST": "ssh://x"})
    env = client(tmp_path / "bin", "[ $1 = version ] && echo '{}'\n")
    with pytest.raises(UnmetChoice, match=r"DOCKER_HOST=tcp://x:1 cannot be used: .* has no buildx plugin"):
        find.find(layout=place, environ={**env, "DOCKER_HOST": "tcp://x:1"})


def test_up_starts_no_other_engine_either(place: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {**dead(tmp_path / "bin"), "DOCKER_HOST": "tcp://127.0.0.1:1"})
    with Reporter() as reporter, pytest.raises(UnmetChoice, match=r"DOCKER_HOST=tcp://127\.0\.0\.1:1 cannot be used"):
        control.up(place, reporter)


def test_without_a_wish_the_private_engine_is_found(place: Layout, tmp_path: Path, private: Connection) -> None:
    for config in ({}, {"currentContext": "default"}, {"currentContext": ""}):
        env = dead(tmp_path / "bin")
        (tmp_path / "bin/config.json").write_text(json.dumps(config))
        assert find.find(layout=place, environ=env) is private


@pytest.mark.parametrize("spelling", ["unix://{0}", "unix://{1}/../{2}/docker.sock", "unix:///{0}"])
def test_the_private_engines_own_socket_is_no_other_engine(
    place: Layout, tmp_path: Path, private: Connection, spelling: str
) -> None:
    socket = Path(place.host.removeprefix("unix://"))
    assert socket.name == "docker.sock"
    host = spelling.format(socket, socket.parent, socket.parent.name)
    for env in ({"PATH": str(tmp_path)}, dead(tmp_path / "bin"), client(tmp_path / "bin", _PODMAN)):
        assert find.find(layout=place, environ={**env, "DOCKER_HOST": host}) is private


# --- Podman


@pytest.mark.parametrize("given", [{}, {"DOCKER_HOST": "tcp://127.0.0.1:1"}, {"OHBUILD_ENGINE": "system"}])
def test_podman_is_refused_before_anything_else_is_tried(
    place: Layout, tmp_path: Path, private: Connection, given: dict[str, str]
) -> None:
    env = {**client(tmp_path / "bin", _PODMAN), **given}
    with pytest.raises(UnmetChoice, match="bin/docker is Podman, which has no BuildKit") as caught:
        find.find(layout=place, environ=env)
    assert caught.value.exit_code == ExitCode.NO_ENGINE
    assert "install Docker" in caught.value.hint
    assert "ohbuild engine up" in caught.value.hint
    assert (tmp_path / "bin/asked").read_text() == "--version\n"
    assert find.own_client(env) is None
    assert find.find(layout=place, environ={**env, "OHBUILD_ENGINE": "ohbuild"}) is private


def test_podman_is_recognised_by_each_of_its_answers(place: Layout, tmp_path: Path) -> None:
    quiet = _PODMAN.partition("\n")[2].replace("podman version", "docker version")  # as a link to it answers
    env = client(tmp_path / "bin", quiet)
    with pytest.raises(UnmetChoice, match="is Podman"):
        find.find(layout=place, environ=env)
    (tmp_path / "podman-remote").write_bytes(b"\x7fELF")
    (tmp_path / "podman-remote").chmod(0o755)
    (tmp_path / "link").mkdir()
    (tmp_path / "link/docker").symlink_to(tmp_path / "podman-remote")
    with pytest.raises(UnmetChoice, match="is Podman"):
        find.find(layout=place, environ={"PATH": str(tmp_path / "link")})


def test_podmans_service_is_recognised_behind_dockers_own_client(place: Layout, tmp_path: Path) -> None:
    genuine = client(tmp_path / "bin", "echo 'Docker version 28.0.4, build b8034c0'\n")
    socket = tmp_path / "podman.sock"
    with engine_at(socket, Libpod_API_Version="5.4.2"), pytest.raises(UnmetChoice, match="Podman responds at unix://"):
        find.find(layout=place, environ={**genuine, "DOCKER_HOST": f"unix://{socket}"})
    answer = """[ $1 = version ] && echo '{"Components":[{"Name":"Podman Engine"}]}'"""
    far = client(tmp_path / "bin", f"{answer} || echo 'Docker version 28.0.4, build b8034c0'\n")
    with pytest.raises(UnmetChoice, match=r"DOCKER_HOST=tcp://x:1 cannot be used: Podman responds"):
        find.find(layout=place, environ={**far, "DOCKER_HOST": "tcp://x:1"})


# --- builders


def test_the_builder_is_the_one_that_buildx_would_take(tmp_path: Path) -> None:
    folder = tmp_path / "buildx"
    (folder / "instances").mkdir(parents=True)
    env = {"DOCKER_CONFIG": str(tmp_path)}
    assert named_builder("", env) is None
    current: dict[str, Any] = {"Key": "unix:///var/run/docker.sock", "Name": "used", "Global": False}
    (folder / "current").write_text(json.dumps(current))
    assert named_builder("", env) is None, "a builder that is gone is none, as in buildx"
    (folder / "instances/used").touch()
    used = NamedBuilder("used", "the current builder 'used' (`docker buildx use`)")
    assert named_builder("", env) == used
    assert named_builder("", {**env, "DOCKER_HOST": "tcp://x:1"}) is None, "it belongs to another endpoint"
    (folder / "current").write_text(json.dumps({**current, "Global": True}))
    assert named_builder("", {**env, "DOCKER_HOST": "tcp://x:1"}) == used
    by_variable = {**env, "BUILDX_BUILDER": "far"}
    assert named_builder("", by_variable) == NamedBuilder("far", "BUILDX_BUILDER=far")
    assert named_builder("mine", by_variable) == NamedBuilder("mine")
    assert named_builder("", {**by_variable, "OHBUILD_ENGINE": "ohbuild"}) is None
    (folder / "current").write_text('{"Name": 7}')
    assert named_builder("", env) is None


@pytest.mark.parametrize(
    ("setting", "variables", "told"),
    [
        ("nope", {}, "^builder 'nope' does not respond: no builder \"nope\" found"),
        ("", {"BUILDX_BUILDER": "nope"}, "^BUILDX_BUILDER=nope cannot be used: builder 'nope' does not respond: no"),
    ],
)
def test_a_builder_that_is_named_and_missing_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    private: Connection,
    setting: str,
    variables: dict[str, str],
    told: str,
) -> None:
    set_environment(monkeypatch, {**buildx(tmp_path / "bin"), **variables})
    private.docker.parent.mkdir(parents=True)
    private.docker.symlink_to(tmp_path / "bin/docker")
    for connect in (lambda: private, _no_engine):
        with pytest.raises(UnmetChoice, match=told) as caught:
            connect_builder(setting, connect)
        assert caught.value.exit_code == ExitCode.NO_ENGINE


def test_a_builder_of_the_users_own_client_is_used_with_and_without_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: Connection
) -> None:
    set_environment(monkeypatch, {**buildx(tmp_path / "bin"), "BUILDX_BUILDER": "far"})
    private.docker.parent.mkdir(parents=True)
    buildx(private.docker.parent, name="other")
    for connect in (lambda: private, _no_engine, _unmet):
        made, described = connect_builder("", connect)
        assert (described.name, described.driver) == ("far", "remote")
        assert made.connection.docker == tmp_path / "bin/docker"


def _no_engine() -> Connection:
    raise NoEngine("there is none")


def _unmet() -> Connection:
    raise UnmetChoice("DOCKER_HOST=tcp://x:1 cannot be used: nothing responds", "unset it")


# --- commands


def test_without_a_client_nothing_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reached = reach("", _no_engine)
    assert (reached.buildx, reached.builder) == (None, None)
    assert isinstance(reach("far", _no_engine).problem, UnmetChoice)


def test_what_builds_fails_and_what_only_shows_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {**dead(tmp_path / "bin"), "DOCKER_HOST": "tcp://127.0.0.1:1"})
    settings = Settings(image="localhost:1/x/runtime", bases=["debian:trixie"], preflight=False, ca_bundle="off")  # type: ignore[arg-type]
    with pytest.raises(UnmetChoice, match=r"DOCKER_HOST=tcp://127\.0\.0\.1:1 cannot be used"):
        prepare(settings, known=FAKES)
    shown = prepare(settings, known=FAKES, purpose=Purpose.SHOW)
    assert shown.builder is None
    assert "DOCKER_HOST=tcp://127.0.0.1:1 cannot be used" in shown.remarks[0]
    with pytest.raises(OhbuildError, match=r"DOCKER_HOST=tcp://127\.0\.0\.1:1 cannot be used") as caught:
        check_bases(settings)
    assert caught.value.exit_code == ExitCode.NO_ENGINE
