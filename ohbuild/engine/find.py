"""Finds the Docker Engine to use: the user's own if it responds, else the private one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.engine import daemon, http, state
from ohbuild.engine.errors import GET_DOCKER
from ohbuild.engine.state import Layout, read_json, read_record, write_text
from ohbuild.errors import NoEngine, UsageError

CHOICE_VARIABLE = "OHBUILD_ENGINE"
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
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
        NoEngine: No engine responds.
        UsageError: An environment variable for the engine is invalid.
    """
    env = os.environ if environ is None else environ
    where = layout or state.layout(env)
    wanted = choice(env)
    reason = ""
    if wanted != "ohbuild":
        found, reason = system(where, env)
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


def endpoint(env: Mapping[str, str], config: Mapping[str, object]) -> str | None:
    """Returns the endpoint that the docker client will use, or None if a context decides.

    Args:
        env: Environment variables.
        config: Contents of the user's config.json.
    """
    context = env.get("DOCKER_CONTEXT")
    if not context and env.get("DOCKER_HOST"):
        return env["DOCKER_HOST"]
    context = context or config.get("currentContext") or "default"  # type: ignore[assignment]
    return _DEFAULT_SOCKET if context == "default" else None


def _user_config(env: Mapping[str, str]) -> dict[str, object]:
    folder = Path(env["DOCKER_CONFIG"]) if env.get("DOCKER_CONFIG") else Path.home() / ".docker"
    return read_json(folder / "config.json")


def system(layout: Layout, env: Mapping[str, str]) -> tuple[Connection | None, str]:
    """Returns the user's own Docker if it responds and has buildx, else None and the reason."""
    docker = shutil.which("docker", path=env.get("PATH"))
    if docker is None:
        return None, "the docker command is not installed"
    where = endpoint(env, _user_config(env))
    if where == layout.host:
        return None, "DOCKER_HOST is ohbuild's private engine"
    if where and where.startswith("unix://"):
        # Asking the socket directly takes a hundredth of the time, and most machines without Docker get no further.
        if not http.docker_answers(Path(where.removeprefix("unix://"))):
            return None, f"nothing responds at {where}"
    else:
        answer = process.ask([docker, "version", "--format", "{{.Server.Version}}"], env=dict(env), timeout=15)
        if not answer.ok:
            return None, f"`docker version` failed: {answer.last}"
    if not process.ask([docker, "buildx", "version"], env=dict(env)).ok:
        return None, f"{docker} has no buildx plugin"
    return Connection(docker=Path(docker), host=None, config_dir=None, registry=None, origin="system"), ""


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
