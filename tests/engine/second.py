"""A second BuildKit, or one with the classic image store: another dockerd, of the private engine's programs."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ohbuild import process
from ohbuild.engine import daemon, http, namespace
from ohbuild.engine.bootstrap import OWN_PATH
from ohbuild.engine.state import Layout, write_json

_NETWORK = "10.213.0"
_ADDRESS = "02:42:0a:d5:00:01"  # as Docker makes the address of docker0 from 10.213.0.1


@contextmanager
def second_engine(first: Layout, folder: Path, *, image_store: bool = True) -> Iterator[Path]:
    """Runs another, empty dockerd within the context, without changing the first one's network.

    Args:
        first: The private engine, whose programs and registry it uses.
        folder: A new folder for its state.
        image_store: Whether it uses containerd's image store instead of Docker's classic one.

    Yields:
        Its socket.
    """
    second = Layout(folder, first.port)
    for place in (second.logs, second.docker_data, second.run):
        place.mkdir(parents=True)
    second.root.symlink_to(first.root)
    config = daemon.dockerd_config(second, disk=shutil.disk_usage(folder).total)
    # It has its own bridge, because a dockerd without one ("none") removes the first engine's docker0.
    bridge = f"oh{uuid.uuid4().hex[:8]}"
    # With an address of its own. Otherwise it has the lowest of its ports, which changes when a build step starts or
    # ends, and other steps lose their gateway until they look for it again, after up to a minute.
    subprocess.run(["ip", "link", "add", bridge, "address", _ADDRESS, "type", "bridge"], check=True)
    subprocess.run(["ip", "address", "add", f"{_NETWORK}.1/24", "dev", bridge], check=True)
    config |= {"features": {"containerd-snapshotter": image_store}}
    write_json(folder / "dockerd.json", {**config, "bridge": bridge, "iptables": False, "ip6tables": False})
    log = second.logs / "dockerd.log"
    _packets_go_through(first, bridge, "-I")
    running = daemon._launch(second, log.name, log.name, "dockerd", "--config-file", folder / "dockerd.json")
    assert running is not None, process.tail(log)
    try:
        until = time.monotonic() + 60
        while not http.docker_answers(second.socket):
            assert running.alive, process.tail(log)
            assert time.monotonic() < until, process.tail(log)
            time.sleep(0.05)
        yield second.socket
    finally:
        running.stop(30)
        daemon.stop_strays(second)
        _packets_go_through(first, bridge, "-D")
        subprocess.run(["ip", "link", "delete", bridge], check=True)
        shutil.rmtree(second.run)
        shutil.rmtree(folder)


def _packets_go_through(first: Layout, bridge: str, change: str) -> None:
    """Changes whether build steps on the second engine's bridge have network access.

    dockerd itself is configured not to change any rules.

    Args:
        first: The private engine.
        bridge: The second engine's bridge.
        change: ``-I`` to add the rules, ``-D`` to remove them.
    """
    for rule in (
        ["-t", "nat", change, "POSTROUTING", "-s", f"{_NETWORK}.0/24", "!", "-o", bridge, "-j", "MASQUERADE"],
        [change, "FORWARD", "-i", bridge, "-j", "ACCEPT"],
        [change, "FORWARD", "-o", bridge, "-j", "ACCEPT"],
    ):
        words = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", namespace.LAUNCH, "sh", str(first.root)]
        subprocess.run(
            [*words, "iptables", *rule], check=True, env={"PATH": f"/{OWN_PATH}:/usr/sbin:/usr/bin:/sbin:/bin"}
        )
