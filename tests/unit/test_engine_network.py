"""The engine's bridge: its network, what is wrong with it, and dockerd's rules for it."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.cli import engine as command
from ohbuild.engine import control, disk, firewall, network
from ohbuild.engine.state import Bridge, Layout, Record, read_record, write_json, write_record

ID = "1a2b3c4d5e"
_ids = st.text("0123456789abcdef", min_size=10, max_size=10)
_networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(min_value=0, max_value=2**32 - 1),
    st.integers(min_value=8, max_value=32),
)
_close = st.builds(
    lambda number, length: IPv4Network((f"172.{number}.64.1", length), strict=False),
    st.integers(min_value=16, max_value=31),
    st.integers(min_value=9, max_value=24),
)


@given(_ids, st.lists(_networks | _close, max_size=12))
def test_the_bridge_overlaps_no_network_that_is_in_use(id: str, busy: list[IPv4Network]) -> None:
    bridge = network.choose(id, busy)
    assert bridge is not None or any(one.prefixlen < 12 for one in busy)
    if bridge:
        interface = ipaddress.ip_interface(bridge.address)
        assert interface.is_private
        assert not any(interface.network.overlaps(one) for one in busy)
        assert len(bridge.name) <= 15
        assert network.choose(id, busy) == bridge


@given(_ids)
def test_another_network_means_another_name(id: str) -> None:
    first = network.choose(id, [])
    assert first is not None
    second = network.choose(id, [ipaddress.ip_interface(first.address).network])  # type: ignore[list-item]
    assert second is not None
    assert second.name != first.name
    assert second.address != first.address


def test_no_network_is_free() -> None:
    everything = [IPv4Network(text) for text in ("172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8")]
    assert network.choose(ID, everything) is None


def test_routes_name_servers_and_not_our_own_bridge_are_in_use() -> None:
    routes = [
        {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
        {"dst": "0.0.0.0/1", "dev": "tun0"},  # a VPN's way to replace the default route
        {"dst": "172.17.0.0/16", "dev": "docker0"},
        {"type": "local", "dst": "172.17.0.1", "dev": "docker0"},
        {"dst": "172.20.0.0/14", "gateway": "192.0.2.9", "dev": "eth0"},
        {"dst": "172.28.16.0/20", "dev": "ohb-1a2b3c-177"},
        {"type": "unreachable", "dst": "10.9.0.0/16"},
    ]
    servers = "search x\nnameserver 172.30.0.2\n nameserver fe80::1%eth0\n# nameserver 1.2.3.4\n"
    near = {IPv4Network(text) for text in ("172.17.0.0/16", "172.17.0.1", "172.30.0.2", "10.9.0.0/16")}
    assert network.busy(routes, servers, ID, distant=False) == near
    assert network.busy(routes, servers, ID, distant=True) == near | {IPv4Network("172.20.0.0/14")}


def test_a_fault_is_named() -> None:
    assert network.fault(Bridge("lo", "127.0.0.1/8")) == ""
    assert network.fault(Bridge("lo", "")) == ""
    assert network.fault(Bridge("lo", "172.20.0.1/20")) == "has lost its address"
    assert network.fault(Bridge("ohb-none-1", "172.20.0.1/20")) == "is missing"


def test_the_host_end_of_a_containers_interface() -> None:
    links = json.dumps(
        [
            {"ifname": "lo", "address": "00:00:00:00:00:00"},
            {"ifname": "eth0", "link_index": 42, "address": "02:42:ac:11:00:02"},
        ]
    )
    assert network.peer_of(links, "02:42:ac:11:00:02") == 42
    assert network.peer_of(links, "02:42:ac:11:00:03") == 0
    assert network.peer_of("", "02:42:ac:11:00:02") == 0


def test_the_record_keeps_the_bridge_and_an_older_one_has_none(tmp_path: Path) -> None:
    place = Layout(tmp_path, 5007)
    place.record = tmp_path / "engine.json"
    record = Record(port=5007, bridge=Bridge("ohb-1a2b3c-7", "172.20.0.1/20"))
    write_record(place, record)
    assert read_record(place) == record
    assert network.of(record) == record.bridge
    write_json(place.record, {"port": 5007, "dockerd": None, "registry": None})  # as version 0.5 wrote it
    older = read_record(place)
    assert older is not None
    assert network.of(older).name == "docker0"


def test_dockers_chains_get_our_names_and_no_other_word_changes(tmp_path: Path) -> None:
    place = Layout(tmp_path, 5007)
    folder = firewall.install(place)
    script = (folder / "iptables").read_text().replace('/usr/sbin/xtables-nft-multi "${0##*/}"', "printf '%s\\n'")
    own = firewall.chains(place)
    for word, becomes in (
        ("DOCKER", own),
        ("DOCKER-ISOLATION-STAGE-1", f"{own}-ISOLATION-STAGE-1"),
        ("DOCKER-USER", "DOCKER-USER"),
        ("DOCKERD", "DOCKERD"),
        ("! DOCKER", "! DOCKER"),
        ("docker0", "docker0"),
        ("", ""),
    ):
        words = ["--wait", word, "-j", "DOCKER-CT"]
        said = subprocess.run(["sh", "-c", script, "iptables", *words], capture_output=True, text=True, check=True)
        assert said.stdout.split("\n")[:-1] == ["--wait", becomes, "-j", f"{own}-CT"]
        assert len(becomes) <= 28


def test_only_our_chains_and_rules_are_removed() -> None:
    saved = """\
# Generated by iptables-save
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:OHB1 - [0:0]
:OHB1-CT - [0:0]
:OHB12 - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j OHB1-CT
-A FORWARD -m comment --comment "a b" -j OHB12
-A OHB1-CT -o ohb-1-2 -j ACCEPT
-A DOCKER -o docker0 -j DROP
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.20.0.0/20 ! -o ohb-1-2 -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
*raw
:PREROUTING ACCEPT [0:0]
COMMIT
"""
    assert firewall.removal(saved, "OHB1", frozenset({"ohb-1-2"})).splitlines() == [
        "*filter",
        "-D FORWARD -j OHB1-CT",
        "-F OHB1",
        "-F OHB1-CT",
        "-X OHB1",
        "-X OHB1-CT",
        "COMMIT",
        "*nat",
        "-D POSTROUTING -s 172.20.0.0/20 ! -o ohb-1-2 -j MASQUERADE",
        "COMMIT",
    ]
    assert firewall.removal(saved, "OHB3", frozenset()) == ""


def test_images_and_cache_are_not_counted_twice() -> None:
    cache = [{"Size": 30, "Shared": False}, {"Size": 50, "Shared": True}]
    assert disk.shares({"LayersSize": 100, "BuildCache": cache}) == {"images": 70, "build_cache": 30}
    assert disk.shares({"LayersSize": 5, "BuildCache": None}) == {"images": 5, "build_cache": 0}
    assert disk.shares(None) == disk.shares({"message": "no"}) == {}


def test_a_nearly_full_disk_is_a_problem() -> None:
    assert disk.shortage(None, Path("/x")) is None
    assert disk.shortage(10_000_000_000, Path("/x")) is None
    found = disk.shortage(9_900_000_000, Path("/x"))
    assert found is not None
    assert "9.9 GB are free on the disk with /x" in found.problem
    assert "ohbuild engine prune" in found.fix


def test_status_shows_what_the_disk_holds() -> None:
    private = {
        "disk": {"engine": 600_000_000, "docker": 20_000_000_000, "registry": 8_000_000_000},
        "stored": {"images": 13_000_000_000, "build_cache": 7_000_000_000},
        "free": 75_000_000_000,
    }
    assert command._disk(private) == (
        "28.6 GB: engine 600.0 MB, docker 20.0 GB (images 13.0 GB, build cache 7.0 GB), registry 8.0 GB; 75.0 GB free"
    )
    assert command._disk({"disk": {"docker": 5}, "stored": {}, "free": None}) == "5 bytes: docker 5 bytes"


def test_problems_are_named_with_their_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Layout(tmp_path, 5007)
    monkeypatch.setattr(disk, "free", lambda _layout: 1_000_000_000)
    lost, short = control._problems(place, Bridge("ohb-none-1", "172.20.0.1/20"))
    assert "bridge ohb-none-1 is missing" in lost.problem
    assert lost.fix == "run `ohbuild engine up`"
    assert "only 1.0 GB are free" in short.problem
    assert control._problems(place, None) == [short]
    monkeypatch.setattr(disk, "free", lambda _layout: 11_000_000_000)
    assert control._problems(place, Bridge("lo", "127.0.0.1/8")) == []
