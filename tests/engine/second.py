"""A second BuildKit, for what needs two: another dockerd out of the private engine's programs."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ohbuild.engine import daemon, http, process
from ohbuild.engine.state import Layout, write_json


@contextmanager
def second_engine(first: Layout, folder: Path) -> Iterator[Path]:
    """Another dockerd while this lasts, with nothing in it; it leaves network and packet filter alone.

    Parameters
    ----------
    first: the private engine, whose programs and registry it uses.
    folder: an empty one, for its state.

    Returns
    -------
    Its socket.
    """
    second = Layout(folder, first.port)
    for place in (second.logs, second.docker_data, second.run):
        place.mkdir(parents=True)
    second.root.symlink_to(first.root)
    config = daemon.dockerd_config(second, disk=shutil.disk_usage(folder).total)
    # A bridge of its own: a dockerd without one ("none") removes docker0, which is the first engine's.
    bridge = f"oh{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    subprocess.run(["ip", "address", "add", "10.213.0.1/24", "dev", bridge], check=True)
    write_json(folder / "dockerd.json", {**config, "bridge": bridge, "iptables": False, "ip6tables": False})
    log = second.logs / "dockerd.log"
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
        subprocess.run(["ip", "link", "delete", bridge], check=True)
        shutil.rmtree(second.run)
        shutil.rmtree(folder)
