"""Starts and stops the two daemons of the private engine: dockerd and the registry."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ohbuild import process
from ohbuild.engine import firewall, http, namespace, network
from ohbuild.engine.errors import EngineFailed, PortTaken, with_log
from ohbuild.engine.state import PORT_VARIABLE, Layout, Record, read_record, write_json, write_record, write_text

_GIGABYTE = 1_000_000_000
_LOG_LIMIT = 50_000_000  # bytes; the next `up` truncates larger logs
_READY_WITHIN = 90  # seconds
_STOP_WITHIN = 60  # seconds; dockerd gives containers 15
_PROGRAMS = frozenset({"dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy", "buildkitd"})


def cache_limits(disk: int) -> dict[str, str]:
    """Returns the limits of BuildKit's garbage collection for a disk of this size in bytes.

    The reserved space is a fifth of the disk, at most 30 GB. The cache uses at most two fifths, and at most 80 GB. A
    twentieth of the disk, at most 10 GB, stays free.
    """

    def gigabytes(size: int, most: int, least: int = 1) -> str:
        return f"{max(least, min(most, size // _GIGABYTE))}GB"

    return {
        "defaultReservedSpace": gigabytes(disk // 5, 30),
        "defaultMaxUsedSpace": gigabytes(disk * 2 // 5, 80, least=2),
        "defaultMinFreeSpace": gigabytes(disk // 20, 10),
    }


def dockerd_config(layout: Layout, *, disk: int, bridge: str = "") -> dict[str, object]:
    """Returns the configuration of dockerd.

    Args:
        layout: Paths of the engine.
        disk: Size in bytes of the disk that holds the state folder.
        bridge: Name of the bridge of its containers, which must exist; if empty, dockerd creates ``docker0``.
    """
    config: dict[str, object] = {
        "hosts": [layout.host],
        "group": "root",  # the host's `docker` group is for another Docker
        "data-root": str(layout.docker_data),
        "exec-root": str(layout.run / "exec"),
        "pidfile": str(layout.run / "docker.pid"),
        # required by the docker driver for multi-platform images and the registry cache
        "features": {"containerd-snapshotter": True},
        "registry-mirrors": [f"http://127.0.0.1:{layout.port}"],
        "insecure-registries": [layout.registry, f"127.0.0.1:{layout.port}"],
        "builder": {"gc": {"enabled": True, **cache_limits(disk)}},
        "log-driver": "local",  # the only driver that limits its disk usage by default
        "log-level": "warn",
    }
    return {**config, "bridge": bridge} if bridge else config


def registry_config(layout: Layout, secret: str) -> str:
    """Returns the registry's configuration (YAML; https://distribution.github.io/distribution/about/configuration).

    Debian's default configuration requires a password.
    """
    return f"""\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: {layout.registry_data}
  delete:
    enabled: true
  cache:
    blobdescriptor: inmemory
http:
  addr: 127.0.0.1:{layout.port}
  secret: {secret}
"""


def running(layout: Layout) -> Record | None:
    """Returns the record of the private engine if both daemons are running and respond, else None."""
    record = read_record(layout)
    if record is None or record.dockerd is None or record.registry is None:
        return None
    alive = record.dockerd.alive and record.registry.alive
    return record if alive and http.docker_answers(layout.socket) and http.registry_answers(record.port) else None


def start(layout: Layout, show: Callable[[str], None]) -> None:
    """Starts the daemons that are not running. The caller must hold the lock and have built the root.

    Args:
        layout: Paths of the engine.
        show: Called with the current step.

    Raises:
        PortTaken: The registry's port is already in use.
        EngineFailed: A daemon did not start.
    """
    for folder in (layout.logs, layout.config, layout.docker_data, layout.registry_data, layout.run):
        folder.mkdir(parents=True, exist_ok=True)
    layout.run.chmod(0o711)
    for log in layout.logs.glob("*.log"):
        _cut(log)
    record = read_record(layout)
    if record is None or record.port != layout.port:
        record = Record(port=layout.port)
    show("starting the registry")
    record = _start_registry(layout, record)
    show("starting dockerd")
    _start_dockerd(layout, record)


def _cut(log: Path) -> None:
    """Empties a log that has grown too large and saves its last part in a second file.

    The daemons have it open for appending, so they need no restart.
    """
    size = log.stat().st_size
    if size > _LOG_LIMIT:
        with log.open("r+b") as file:
            file.seek(size - _LOG_LIMIT // 10)
            log.with_suffix(".log.1").write_bytes(file.read())
            file.truncate(0)


def _launch(
    layout: Layout, out: str, err: str, *argv: str | Path, programs: Sequence[Path] = ()
) -> process.Process | None:
    """Starts a daemon.

    Args:
        layout: Paths of the engine.
        out: Name of the log for its standard output.
        err: Name of the log for its errors.
        argv: Its command line.
        programs: Folders whose programs it runs instead of the engine's.
    """
    keep = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")
    path = namespace.search_path(*programs)
    env = {"PATH": path, "HOME": "/root", **{name: os.environ[name] for name in keep if name in os.environ}}
    argv = namespace.inside(layout.root, *argv)
    return process.launch(argv, out=layout.logs / out, err=layout.logs / err, env=env)


def _start_registry(layout: Layout, record: Record) -> Record:
    if record.registry and record.registry.alive:
        if http.registry_answers(layout.port):
            return record
        record.registry.stop(5)
    check_port(layout.port)
    config = layout.config / "registry.yml"
    write_text(config, registry_config(layout, secrets.token_hex(16)), mode=0o600)
    log = layout.logs / "registry.log"
    record = replace(
        record, registry=_launch(layout, layout.access_log.name, log.name, "docker-registry", "serve", config)
    )
    write_record(layout, record)
    _await("the registry", log, record.registry, lambda: http.registry_answers(layout.port))
    return record


def _start_dockerd(layout: Layout, record: Record) -> None:
    if record.dockerd and record.dockerd.alive:
        if http.docker_answers(layout.socket):
            return
        record.dockerd.stop(_STOP_WITHIN)
    stop_strays(layout)
    layout.socket.unlink(missing_ok=True)
    (layout.run / "docker.pid").unlink(missing_ok=True)
    config = layout.config / "dockerd.json"
    bridge = network.bring_up(layout)
    write_json(config, dockerd_config(layout, disk=shutil.disk_usage(layout.dir).total, bridge=bridge.name))
    log = layout.logs / "dockerd.log"
    programs = [firewall.install(layout)]
    dockerd = _launch(layout, log.name, log.name, "dockerd", "--config-file", config, programs=programs)
    record = replace(record, dockerd=dockerd, bridge=bridge)
    write_record(layout, record)
    _await("dockerd", log, record.dockerd, lambda: http.docker_answers(layout.socket))


def repair(layout: Layout, record: Record, show: Callable[[str], None]) -> None:
    """Restores the bridge of a running engine. The caller must hold the lock.

    Args:
        layout: Paths of the engine.
        record: Record of the engine.
        show: Called with the current step.

    Raises:
        EngineFailed: The bridge cannot be restored.
    """
    if record.bridge:
        show(f"restoring the bridge {record.bridge.name}")
        network.attach(layout, network.bring_up(layout, record.bridge))
    elif record.dockerd:
        # Only a dockerd that starts can be given a bridge. Its containers have no network, so they lose little.
        show("starting dockerd again, with a bridge of its own")
        record.dockerd.stop(_STOP_WITHIN)
        _start_dockerd(layout, record)


@contextlib.contextmanager
def without_registry(layout: Layout) -> Iterator[None]:
    """Stops the registry within the context, if it is running. The caller must hold the lock.

    Raises:
        EngineFailed: The registry does not exit, or does not start again.
    """
    record = read_record(layout)
    if record is None or record.registry is None or not record.registry.alive:
        yield
        return
    if not record.registry.stop(10):
        raise EngineFailed(f"the registry (PID {record.registry.pid}) does not exit", f"see the logs in {layout.logs}")
    try:
        yield
    finally:
        _start_registry(layout, record)


def _await(name: str, log: Path, daemon: process.Process | None, ready: Callable[[], bool]) -> None:
    until = time.monotonic() + _READY_WITHIN
    while not ready():
        if daemon is None or not daemon.alive:
            raise EngineFailed(with_log(f"{name} of ohbuild's engine exited during startup", log), _advice(log))
        if time.monotonic() > until:
            raise EngineFailed(
                with_log(f"{name} of ohbuild's engine did not respond within {_READY_WITHIN} s", log), _advice(log)
            )
        time.sleep(0.05)


def _advice(log: Path) -> str:
    text = process.tail(log)
    if "iptables" in text:
        return "check that iptables works here; in a container, this requires --privileged"
    if "no space left" in text.lower():
        return "the disk is full: free some space, then try again"
    return "check the log, or rebuild the engine with `ohbuild engine remove` and `ohbuild engine up`"


def check_port(port: int, answers: Callable[[int], bool] = http.registry_answers) -> None:
    """Checks that the registry can listen on this port of loopback.

    Args:
        port: TCP port.
        answers: Checks whether an image registry responds on the port.

    Raises:
        PortTaken: The port is in use, or listening on it is not permitted.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            what = "another registry" if answers(port) else "another program"
            raise PortTaken(
                f"the engine's registry cannot use port {port} on 127.0.0.1: taken by {what} ({error.strerror})",
                f"stop it (`ss -ltnp 'sport = :{port}'` shows it), or set {PORT_VARIABLE} to a free port",
            ) from error


def stop_strays(layout: Layout) -> None:
    """Stops processes that a killed dockerd left running (containerd, shims)."""
    for stray in process.find_by_argument(str(layout.run), _PROGRAMS):
        stray.stop(10)


def stop(layout: Layout, show: Callable[[str], None]) -> bool:
    """Stops what ``start`` started, and nothing else. The caller must hold the lock.

    Args:
        layout: Paths of the engine.
        show: Called with the current step.

    Returns:
        Whether anything was running.

    Raises:
        EngineFailed: A process does not exit.
    """
    record = read_record(layout) or Record(port=layout.port)
    did = False
    for name, daemon, patience in (("dockerd", record.dockerd, _STOP_WITHIN), ("the registry", record.registry, 10)):
        if daemon and daemon.alive:
            did = True
            show(f"stopping {name}")
            if not daemon.stop(patience):
                hint = f"check it with `ps -fp {daemon.pid}` and the logs in {layout.logs}"
                raise EngineFailed(f"{name} (PID {daemon.pid}) does not exit", hint)
        if name == "dockerd":
            stop_strays(layout)
    left = network.bridges(layout)
    if did or left:
        firewall.clear(layout, left)
        network.delete(layout)
    shutil.rmtree(layout.run, ignore_errors=True)
    return did
