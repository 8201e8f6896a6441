"""Finds the Docker Engine to use: the one that the user names, the user's own if it responds, or the private one.

What the user names explicitly is used or is an error. Nothing else takes its place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.engine import daemon, http, state
from ohbuild.engine.errors import GET_DOCKER, UnmetChoice
from ohbuild.engine.state import Layout, read_json, read_record, write_text
from ohbuild.errors import NoEngine, UsageError
from ohbuild.images.credentials import config_folder

CHOICE_VARIABLE = "OHBUILD_ENGINE"
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_PRIVATE_INSTEAD = f"set {CHOICE_VARIABLE}=ohbuild to use ohbuild's private engine (`ohbuild engine up`)"
# The parts of the user's config.json that are copied for the private engine's client. The others (plug-ins, contexts,
# formats) only apply to the user's client.
# See https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties
_SHARED = ("auths", "credHelpers", "credsStore", "proxies", "HttpHeaders")


def choice(environ: Mapping[str, str]) -> str:
    """Returns the requested engine: ``auto``, ``system`` or ``ohbuild``.

    Raises:
        UsageError: OHBUILD_ENGINE has another value.
    """
    word = environ.get(CHOICE_VARIABLE) or "auto"
    if word not in ("auto", "system", "ohbuild"):
        raise UsageError(f"{CHOICE_VARIABLE}={word!r} is not a valid choice", "use auto, system or ohbuild")
    return word


def find(*, layout: Layout | None = None, environ: Mapping[str, str] | None = None) -> Connection:
    """Finds the engine to use: a Docker with buildx if it responds, else the private engine if it is running.

    With OHBUILD_ENGINE=system or =ohbuild, only that one is considered.

    Args:
        layout: Paths of the private engine; taken from the environment by default.
        environ: Environment variables; ``os.environ`` by default.

    Raises:
        UnmetChoice: The user names an engine that cannot be used (see ``own``).
        NoEngine: No engine responds.
        UsageError: An environment variable for the engine is invalid.
    """
    env = os.environ if environ is None else environ
    where = layout or state.layout(env)
    wanted = choice(env)
    reason = ""
    if wanted != "ohbuild":
        found, reason = own(where, env)
        if found:
            return found
    if wanted != "system":
        found = private(where, env)
        if found:
            return found
        if read_record(where) and os.geteuid() != 0:
            hint = "run ohbuild as root (`sudo`), or " + GET_DOCKER
            raise NoEngine("only root can use ohbuild's private engine", hint)
    raise NoEngine(
        "no Docker Engine with buildx responds"
        + (f" ({reason})" if reason else "")
        + ", and ohbuild's private engine is not running",
        GET_DOCKER if wanted == "system" else "run `ohbuild engine up`",
    )


# --- what the user names


def endpoint(env: Mapping[str, str], config: Mapping[str, object]) -> str | None:
    """Returns the endpoint that the docker client will use, or None if a context decides.

    The order is that of the client (docker/cli: cli/command/cli.go, ``resolveContextName``).

    Args:
        env: Environment variables.
        config: Contents of the user's config.json.
    """
    context = _context(env, config)
    return (env.get("DOCKER_HOST") or _DEFAULT_SOCKET) if context == "default" else None


def _context(env: Mapping[str, str], config: Mapping[str, object]) -> str:
    if env.get("DOCKER_HOST"):
        return "default"
    current = config.get("currentContext")
    return env.get("DOCKER_CONTEXT") or (current if isinstance(current, str) and current else "default")


def named_engine(env: Mapping[str, str], config: Mapping[str, object]) -> str:
    """Returns how the user names an engine, such as ``DOCKER_HOST=tcp://host:2375``; empty if no engine is named.

    Args:
        env: Environment variables.
        config: Contents of the user's config.json.
    """
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if env.get(name):
            return f"{name}={env[name]}"
    context = _context(env, config)
    return f"the current context {context!r} ({config_folder(env) / 'config.json'})" if context != "default" else ""


@dataclass(frozen=True)
class NamedBuilder:
    """A buildx builder that the user names.

    Attributes:
        name: Its name.
        source: How it is named if not by a setting, such as ``BUILDX_BUILDER=far``.
    """

    name: str
    source: str = ""


def named_builder(setting: str, env: Mapping[str, str]) -> NamedBuilder | None:
    """Returns the builder that the user names; ``None`` to use the default builder of the engine.

    The setting comes first, then as in buildx the variable BUILDX_BUILDER and ``docker buildx use``. With
    OHBUILD_ENGINE=ohbuild, only the setting counts.

    Args:
        setting: Setting ``builder``.
        env: Environment variables.

    Raises:
        UsageError: OHBUILD_ENGINE is invalid.
    """
    if setting:
        return NamedBuilder(setting)
    if choice(env) == "ohbuild":
        return None
    if name := env.get("BUILDX_BUILDER"):
        return NamedBuilder(name, f"BUILDX_BUILDER={name}")
    name = _used_builder(env)
    return NamedBuilder(name, f"the current builder {name!r} (`docker buildx use`)") if name else None


def _used_builder(env: Mapping[str, str]) -> str:
    """Returns the builder of ``docker buildx use`` (buildx: store/store.go, ``Txn.Current``)."""
    folder = Path(env["BUILDX_CONFIG"]) if env.get("BUILDX_CONFIG") else config_folder(env) / "buildx"
    current = read_json(folder / "current")
    name, key = current.get("Name"), current.get("Key")
    if not isinstance(name, str) or not name or not (folder / "instances" / name).is_file():
        return ""
    config = _user_config(env)
    here = endpoint(env, config) or _context(env, config)
    return name if current.get("Global") is True or key == here else ""


def _user_config(env: Mapping[str, str]) -> dict[str, object]:
    return read_json(config_folder(env) / "config.json")


# --- the user's own Docker


@dataclass(frozen=True)
class _Unusable:
    """Why the user's own Docker cannot be used.

    Attributes:
        reason: The reason in one line.
        podman: Whether it is Podman.
    """

    reason: str
    podman: bool = False


def own(layout: Layout, env: Mapping[str, str]) -> tuple[Connection | None, str]:
    """Returns the user's own Docker if it can be used. Otherwise, returns None and why another engine may be used.

    Raises:
        UnmetChoice: No other engine may be used, because the user names this one, or because it is Podman.
    """
    found = _look(layout, env)
    if isinstance(found, Connection):
        return found, ""
    if _is_private(layout, env):
        return None, found.reason
    named = named_engine(env, _user_config(env))
    if named or found.podman:
        raise UnmetChoice(
            f"{named} cannot be used: {found.reason}" if named else found.reason,
            f"{GET_DOCKER if found.podman else 'correct or unset it'}, or {_PRIVATE_INSTEAD}",
        )
    return None, found.reason


def own_client(env: Mapping[str, str] | None = None) -> Path | None:
    """Returns the user's own docker client, which may know builders on other machines; ``None`` if there is none.

    Args:
        env: Environment variables; ``os.environ`` by default.
    """
    env = os.environ if env is None else env
    docker = shutil.which("docker", path=env.get("PATH"))
    return Path(docker) if docker and not _is_podman(docker, env) else None


def system(layout: Layout, env: Mapping[str, str]) -> tuple[Connection | None, str]:
    """Returns the user's own Docker if it responds and has buildx, else None and the reason."""
    found = _look(layout, env)
    return (found, "") if isinstance(found, Connection) else (None, found.reason)


def _look(layout: Layout, env: Mapping[str, str]) -> Connection | _Unusable:
    if _is_private(layout, env):
        return _Unusable("DOCKER_HOST is ohbuild's private engine")
    docker = shutil.which("docker", path=env.get("PATH"))
    if docker is None:
        return _Unusable("the docker command is not installed")
    if _is_podman(docker, env):
        return _Unusable(f"{docker} is Podman, which has no BuildKit", podman=True)
    if silent := _silent(docker, env):
        return silent
    if not process.ask([docker, "buildx", "version"], env=dict(env)).ok:
        return _Unusable(f"{docker} has no buildx plugin")
    return Connection(docker=Path(docker), host=None, config_dir=None, registry=None, origin="system")


def _is_private(layout: Layout, env: Mapping[str, str]) -> bool:
    """Returns whether the environment points to the private engine's own socket, under any of its paths."""
    host = env.get("DOCKER_HOST", "")
    return host.startswith("unix://") and _real(host) == _real(layout.host)


def _real(host: str) -> Path:
    return Path(host.removeprefix("unix://")).resolve()


def _silent(docker: str, env: Mapping[str, str]) -> _Unusable | None:
    """Returns why no Docker Engine responds at the client's endpoint; ``None`` if one does."""
    where = endpoint(env, _user_config(env))
    if where and where.startswith("unix://"):
        # Asking the socket directly takes a hundredth of the time, and most machines without Docker get no further.
        socket = Path(where.removeprefix("unix://"))
        reply = http.get(socket, "/_ping")
        if reply is None or reply.status != 200:
            denied = socket.exists() and not os.access(socket, os.W_OK)
            return _Unusable(f"nothing responds at {where}" + (": permission denied" if denied else ""))
        podman = "libpod-api-version" in reply.headers
    else:
        answer = process.ask([docker, "version", "--format", "{{json .Server}}"], env=dict(env), timeout=15)
        if not answer.ok:
            return _Unusable(f"`docker version` failed: {answer.last}")
        podman = "Podman Engine" in answer.out
    if podman:
        return _Unusable(f"Podman responds at {where or 'the context'}, and it has no BuildKit", podman=True)
    return None


def _is_podman(docker: str, env: Mapping[str, str]) -> bool:
    """Returns whether a docker command is Podman: a link to it, or a script that runs it (package podman-docker).

    A compiled docker client is not run, because that takes longer than everything else.
    """
    real = Path(docker).resolve()
    if real.name.startswith("podman"):
        return True
    try:
        with real.open("rb") as file:
            if file.read(2) != b"#!":
                return False
    except OSError:
        return False
    for words in (("--version",), ("version",)):
        answer = process.ask([docker, *words], env=dict(env))
        if answer.out.startswith("Docker version "):
            return False
        if "podman" in f"{answer.out}\n{answer.err}".lower():
            return True
    return False


# --- the private engine


def private(layout: Layout, env: Mapping[str, str]) -> Connection | None:
    """Returns the private engine if it is running and the caller may use it.

    The user's registry credentials are copied for its client.
    """
    if os.geteuid() != 0:  # the client's folder holds credentials, so only root can read it
        return None
    record = daemon.running(layout)
    if record is None:
        return None
    share_credentials(layout, _user_config(env))
    return Connection(
        docker=layout.bin / "docker",
        host=layout.host,
        config_dir=layout.client,
        registry=f"localhost:{record.port}",
        origin="ohbuild",
        registry_log=layout.access_log,
    )


def share_credentials(layout: Layout, user: Mapping[str, object]) -> None:
    """Copies the user's credentials for the private engine's client; the user's own file is only read.

    Args:
        layout: Paths of the private engine.
        user: Contents of the user's config.json.
    """
    shared = {key: user[key] for key in _SHARED if key in user}
    layout.client.mkdir(parents=True, exist_ok=True)
    layout.client.chmod(0o700)
    write_text(layout.client / "config.json", json.dumps(shared, indent=2, sort_keys=True) + "\n", mode=0o600)
