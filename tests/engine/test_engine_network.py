"""The private engine's bridge: it is the engine's own, its loss is noticed, and `up` restores it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ohbuild.engine import daemon, namespace, network
from ohbuild.engine.state import Bridge, Layout, read_record, write_record
from tests.engine.private import Private

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the private engine")


def rules(layout: Layout) -> str:
    return namespace.ask(layout.root, "iptables-save").out


def bridge_of(private: Private) -> Bridge:
    record = read_record(private.layout)
    assert record is not None
    assert record.bridge is not None
    return record.bridge


@pytest.fixture(scope="module")
def image(private: Private, shared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a bash, which can open connections."""
    folder = tmp_path_factory.mktemp("bash")
    usr = shared_root / "usr"
    files = [usr / "bin/bash", usr / "bin/sleep", *usr.glob("lib64/ld-linux-*.so.*"), *usr.glob("lib/ld-linux-*.so.*")]
    files += [file for name in ("libc.so.6", "libtinfo.so.6") for file in usr.glob(f"lib/*-linux-gnu/{name}")]
    for file in files:
        target = folder / file.relative_to(usr)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (folder / "etc").mkdir()
    private("seed", "org/bash:1", "--from", folder)
    return "org/bash:1"


@pytest.fixture
def server(private: Private) -> Iterator[str]:
    """A server on every address of the host, as `ADDRESS/PORT` of the bridge. It answers with the client's address."""
    with contextlib.closing(socket.create_server(("0.0.0.0", 0))) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, (client, _) = listening.accept()
                    with connection:
                        connection.sendall(f"{client}\n".encode())

        threading.Thread(target=serve, daemon=True).start()
        address = bridge_of(private).address.partition("/")[0]
        yield f"{address}/{listening.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def connects(server: str) -> str:
    """Returns the bash command that prints the address as which the server sees us."""
    return f"read -t 5 address </dev/tcp/{server} && echo $address"


def test_containers_are_on_a_bridge_of_the_engines_own(private: Private, image: str, server: str) -> None:
    bridge = bridge_of(private)
    state = json.loads(private("status", "--json")[0])["private"]
    assert state["bridge"] == {"name": bridge.name, "address": bridge.address}
    assert not any("bridge" in entry["problem"] for entry in state["problems"])
    assert bridge.name in private("status")[0]
    options = json.loads(private.docker("network", "inspect", "bridge"))[0]["Options"]
    assert options["com.docker.network.bridge.name"] == bridge.name
    client = private.docker("run", "--rm", image, "/bin/bash", "-c", connects(server))
    assert client.rpartition(".")[0].split(".")[:2] == bridge.address.split(".")[:2]
    # dockerd masquerades, in rules of our own that no other dockerd deletes
    assert f"! -o {bridge.name} -j MASQUERADE" in rules(private.layout)
    assert "-FORWARD -i " + bridge.name in rules(private.layout)
    assert f"-A DOCKER-FORWARD -i {bridge.name}" not in rules(private.layout)


def test_a_published_port_can_be_reached(private: Private, image: str) -> None:
    name = private.docker("run", "--detach", "--publish", "127.0.0.1::80", image, "/bin/sleep", "60")
    try:
        port = json.loads(private.docker("inspect", name))[0]["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
            pass  # docker-proxy accepts, although nothing listens in the container
    finally:
        private.docker("rm", "--force", name)


def test_a_deleted_bridge_is_noticed_and_restored(private: Private, image: str, server: str) -> None:
    bridge, before = bridge_of(private), read_record(private.layout)
    running = private.docker("run", "--detach", image, "/bin/sleep", "600")
    try:
        subprocess.run(["ip", "link", "delete", bridge.name], check=True)
        state = json.loads(private("status", "--json")[0])["private"]
        assert state["up"]
        (problem,) = (entry for entry in state["problems"] if "bridge" in entry["problem"])
        assert f"{bridge.name} is missing" in problem["problem"]
        assert "ohbuild engine up" in problem["fix"]
        assert f"{bridge.name} is missing" in " ".join(private("status")[1].split())
        with pytest.raises(AssertionError, match="bridge"):
            private.docker("run", "--rm", image, "/bin/bash", "-c", "true")
        _, err = private("up")
        assert "is missing" in err
        assert network.fault(bridge) == ""
        assert read_record(private.layout) == before, "dockerd was not restarted"
        assert private.docker("run", "--rm", image, "/bin/bash", "-c", connects(server))
        # a container that ran all the time is connected again
        assert private.docker("exec", running, "/bin/bash", "-c", connects(server))
    finally:
        private.docker("rm", "--force", running)
    state = json.loads(private("status", "--json")[0])["private"]
    assert not any("bridge" in entry["problem"] for entry in state["problems"])


@pytest.mark.parametrize("change", [["link", "set", "{}", "down"], ["address", "flush", "dev", "{}"]])
def test_a_changed_bridge_is_noticed_and_restored(private: Private, image: str, server: str, change: list[str]) -> None:
    bridge = bridge_of(private)
    subprocess.run(["ip", *(word.format(bridge.name) for word in change)], check=True)
    assert network.fault(bridge)
    private("up")
    assert network.fault(bridge) == ""
    assert private.docker("run", "--rm", image, "/bin/bash", "-c", connects(server))


def test_an_engine_without_a_bridge_of_its_own_gets_one_when_its_bridge_is_lost(
    private: Private, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_record(private.layout)
    assert record is not None
    own = bridge_of(private)
    # as an engine that an older version started, on a machine that has no docker0 any more
    monkeypatch.setattr(network, "_DOCKERS_OWN", Bridge("ohb-none-0", ""))
    older = replace(record, bridge=None)
    write_record(private.layout, older)
    assert network.fault(network.of(older)) == "is missing"
    daemon.repair(private.layout, older, lambda _step: None)
    now = read_record(private.layout)
    assert now is not None
    assert now.dockerd != record.dockerd
    assert now.bridge == own
    assert private.docker("run", "--rm", image, "/bin/bash", "-c", "echo here") == "here"


def test_down_deletes_the_bridge_and_the_rules_and_up_brings_them_back(private: Private, image: str) -> None:
    bridge = bridge_of(private)
    private("down")
    assert network.bridges(private.layout) == frozenset()
    assert bridge.name not in rules(private.layout)
    private("up")
    assert bridge_of(private) == bridge
    assert private.docker("run", "--rm", image, "/bin/bash", "-c", "echo here") == "here"
