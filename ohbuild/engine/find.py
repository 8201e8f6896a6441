"""Finds the Docker Engine to use: the user's own if it answers, else the private one."""

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
# What of the user's config.json the private engine's client gets too; the rest (plug-ins, contexts, formats) is
# about another client. See https://docs.docker.com/reference/cli/docker/#docker-cli-configuration-file-configjson-properties
_SHARED = ("auths", "credHelpers", "credsStore", "proxies", "HttpHeaders")


def choice(environ: Mapping[str, str]) -> str:
    """Which engine is asked for: `auto`, `system` or `ohbuild`.

    Raises:
        UsageError: OHBUILD_ENGINE has another value.
    """
    word = environ.get(CHOICE_VARIABLE) or "auto"
    if word not in ("auto", "system", "ohbuild"):
        raise UsageError(f"{CHOICE_VARIABLE}={word!r} is not known", "known: auto, system, ohbuild")
    return word


def find(*, layout: Layout | None = None, environ: Mapping[str, str] | None = None) -> Connection:
    """The engine to use: a Docker with buildx that answers, else the private engine if it runs.

    OHBUILD_ENGINE=system or =ohbuild takes only that one.

    Raises:
        NoEngine: neither answers.
        UsageError: a variable about the engine has a wrong value.
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
            raise NoEngine("ohbuild's own engine is root's", "run ohbuild as root (`sudo`), or " + GET_DOCKER)
    raise NoEngine(
        "no Docker with buildx answers" + (f" ({reason})" if reason else "") + ", and ohbuild's own engine is not up",
        GET_DOCKER if wanted == "system" else "run `ohbuild engine up`",
    )


def endpoint(env: Mapping[str, str], config: Mapping[str, object]) -> str | None:
    """Where the docker client will go, as far as its variables and config.json tell; None if a context decides."""
    context = env.get("DOCKER_CONTEXT")
    if not context and env.get("DOCKER_HOST"):
        return env["DOCKER_HOST"]
    context = context or config.get("currentContext") or "default"  # type: ignore[assignment]
    return _DEFAULT_SOCKET if context == "default" else None


def _user_config(env: Mapping[str, str]) -> dict[str, object]:
    folder = Path(env["DOCKER_CONFIG"]) if env.get("DOCKER_CONFIG") else Path.home() / ".docker"
    return read_json(folder / "config.json")


def system(layout: Layout, env: Mapping[str, str]) -> tuple[Connection | None, str]:
    """The user's own Docker if it answers and has buildx, else None and why not."""
    docker = shutil.which("docker", path=env.get("PATH"))
    if docker is None:
        return None, "there is no docker command"
    where = endpoint(env, _user_config(env))
    if where == layout.host:
        return None, "DOCKER_HOST is ohbuild's own engine"
    if where and where.startswith("unix://"):
        # Asked directly, as this takes a hundredth of the time, and most machines without Docker end here.
        if not http.docker_answers(Path(where.removeprefix("unix://"))):
            return None, f"nothing answers at {where}"
    else:
        answer = process.ask([docker, "version", "--format", "{{.Server.Version}}"], env=dict(env), timeout=15)
        if not answer.ok:
            return None, f"docker says: {(answer.err or answer.out).splitlines()[-1]}"
    if not process.ask([docker, "buildx", "version"], env=dict(env)).ok:
        return None, f"{docker} has no buildx"
    return Connection(docker=Path(docker), host=None, config_dir=None, registry=None, origin="system"), ""


def private(layout: Layout, env: Mapping[str, str]) -> Connection | None:
    """The private engine if it is up and we may use it; the user's registry credentials are copied for it."""
    if os.geteuid() != 0:  # its client's folder holds credentials, and is root's
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
    """Give the private engine's client the user's credentials; the user's own file is only read."""
    shared = {key: user[key] for key in _SHARED if key in user}
    layout.client.mkdir(parents=True, exist_ok=True)
    layout.client.chmod(0o700)
    write_text(layout.client / "config.json", json.dumps(shared, indent=2, sort_keys=True) + "\n", mode=0o600)
