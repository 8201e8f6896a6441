"""Real services that fail in a known way: a registry that requires a password, an engine on a small disk."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.engine import daemon, http, namespace
from ohbuild.engine.bootstrap import OWN_PATH
from ohbuild.engine.state import Layout, layout
from tests.ports import free_ports

USER, WORD = "user", "word"
# bcrypt hash of WORD, as from `htpasswd -B`
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuQDoL5Sa/TtfS/XN4AY/jgq.HBbO1BTu\n"


def settings(**values: Any) -> Settings:
    """Returns settings with these values, and defaults for the others."""
    return Settings(**values)


@contextmanager
def guarded_registry(folder: Path) -> Iterator[str]:
    """Runs a registry that requires a login (``USER``, ``WORD``) for everything; yields its address."""
    port = free_ports()
    config = folder / "registry.yml"
    (folder / "htpasswd").write_text(_HTPASSWD)
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: x}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n"
    )
    program = layout().root / "usr/bin/docker-registry"
    with subprocess.Popen([program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while (answer := http.get(port, "/v2/")) is None:
                assert process.poll() is None, "the registry ended"
            assert answer.status == 401
            yield f"localhost:{port}"
        finally:
            process.terminate()


def with_login(connection: Connection, folder: Path, registry: str, password: str = WORD) -> Connection:
    """Returns a connection to the same engine, with a client that is logged in to a registry."""
    config = own_client(connection, folder)
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (config / "config.json").write_text(json.dumps({"auths": {registry: {"auth": token}}}))
    return replace(connection, config_dir=config)


def own_client(connection: Connection, folder: Path) -> Path:
    """Creates an empty Docker configuration with the client's plug-ins, and returns its folder."""
    assert connection.config_dir is not None
    config = folder / "client"
    config.mkdir(exist_ok=True)
    (config / "cli-plugins").symlink_to(connection.config_dir / "cli-plugins")
    return config


@contextmanager
def small_engine(engine: Connection, folder: Path, megabytes: int) -> Iterator[Connection]:
    """Runs a second dockerd from the first one's programs, with its data on a small loop-mounted disk.

    It also has its own network namespace, because two dockerds in one namespace would both claim ``docker0``.
    """
    small = Layout(folder / "engine", free_ports())
    for path in (small.docker_data, small.logs, small.run):
        path.mkdir(parents=True)
    disk, config = folder / "disk.img", folder / "dockerd.json"
    config.write_text(json.dumps(daemon.dockerd_config(small, disk=megabytes << 20)))
    with disk.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, small.docker_data], check=True)
    words = ["unshare", "--mount", "--net", "--propagation", "slave", "sh", "-c", namespace.LAUNCH, "sh"]
    words += [str(layout().root), "dockerd", "--config-file", str(config)]
    environ = {"PATH": f"/{OWN_PATH}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    log = small.logs / "dockerd.log"
    try:
        with log.open("wb") as out, subprocess.Popen(words, stdout=out, stderr=out, env=environ) as process:
            try:
                while not http.docker_answers(small.socket):
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.05)
                yield replace(engine, host=small.host, config_dir=own_client(engine, folder), registry=None)
            finally:
                process.terminate()
    finally:
        # The mounts in its namespace are gone with it, but the kernel may take a moment to release them.
        subprocess.run(["umount", "--lazy", small.docker_data], check=True)
        shutil.rmtree(small.run, ignore_errors=True)
        disk.unlink()


def environment(connection: Connection) -> dict[str, str]:
    """Returns the environment of a shell that uses this engine."""
    return {**os.environ, **connection.environment()}
