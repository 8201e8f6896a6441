"""The bridge that connects the engine's containers.

It is not ``docker0``: every dockerd claims that one, and a dockerd that is configured without a bridge deletes it.
dockerd uses a bridge of another name only if it exists when dockerd starts, so ohbuild creates it. A bridge that was
deleted can be created again while dockerd is running: dockerd finds it by its name.
"""

from __future__ import annotations

import fcntl
import json
import re
import socket
import struct
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from ohbuild.engine import http, namespace
from ohbuild.engine.errors import EngineFailed
from ohbuild.engine.state import Bridge, Layout, Record

# Docker's own first, without the network of AWS's default VPC (172.31.0.0/16).
_POOLS = (*(f"172.{number}.0.0/16" for number in range(17, 31)), "192.168.0.0/16", "10.208.0.0/12")
_NETWORKS = tuple(part for pool in _POOLS for part in IPv4Network(pool).subnets(new_prefix=20))
_PREFERRED = 14 * 16  # the number of those in 172.17.0.0 to 172.30.255.255
_WIDE = 8  # a route to a larger network is one to everywhere: of a VPN, for instance
_SIOCGIFFLAGS, _SIOCGIFADDR, _IFF_UP = 0x8913, 0x8915, 1  # netdevice(7)
# An engine that an older version of ohbuild started has the bridge that dockerd creates by itself.
_DOCKERS_OWN = Bridge("docker0", "")
# The MAC address is fixed. Otherwise it is the lowest of those of the bridge's ports and changes with them, and
# containers lose their gateway until they look for it again. dockerd ignores router advertisements on its bridges too.
_BRING_UP = """
set -eu
ip link show "$1" >/dev/null 2>&1 || ip link add "$1" address "$3" type bridge
ip address replace "$2" broadcast + dev "$1"
echo 0 2>/dev/null >"/proc/sys/net/ipv6/conf/$1/accept_ra" || true
ip link set "$1" up
"""


def choose(id: str, busy: Collection[IPv4Network]) -> Bridge | None:
    """Returns a bridge in a free network.

    The search begins at a place that depends on the engine, so that several engines of a machine differ, and that an
    engine always has the same one. Another network means another name: dockerd remembers a bridge with its address.

    Args:
        id: Id of the engine.
        busy: Networks that are in use.

    Returns:
        The bridge; None if all networks are in use.
    """
    first = int(id, 16) % _PREFERRED
    numbers = [*range(first, _PREFERRED), *range(first), *range(_PREFERRED, len(_NETWORKS))]
    for number in numbers:
        network = _NETWORKS[number]
        if not any(network.overlaps(other) for other in busy):
            return Bridge(f"{_prefix(id)}{number}", f"{network[1]}/{network.prefixlen}")
    return None


def _prefix(id: str) -> str:
    return f"ohb-{id[:6]}-"  # with a number of three digits, one less than the 15 characters that Linux allows


def busy(routes: list[dict[str, Any]], resolv_conf: str, id: str, *, distant: bool) -> set[IPv4Network]:
    """Returns the networks that a bridge must not overlap: those with a route, and the name servers.

    Args:
        routes: Output of ``ip -json -4 route show table all``.
        resolv_conf: Contents of /etc/resolv.conf.
        id: Id of the engine; its own bridges do not count.
        distant: Whether networks behind a gateway count.
    """

    def words() -> Iterator[str]:
        for route in routes:
            if not route.get("dev", "").startswith(_prefix(id)) and (distant or "gateway" not in route):
                yield route.get("dst", "")
        yield from re.findall(r"^\s*nameserver\s+(\S+)", resolv_conf, re.MULTILINE)

    found = set()
    for word in words():
        try:
            network = IPv4Network(word, strict=False)
        except ValueError:  # "default", or IPv6
            continue
        if network.prefixlen >= _WIDE:
            found.add(network)
    return found


def bring_up(layout: Layout, bridge: Bridge | None = None) -> Bridge:
    """Creates a bridge, or restores what is missing of it.

    Args:
        layout: Paths of the engine.
        bridge: The bridge; by default one in a free network.

    Raises:
        EngineFailed: It cannot be created.
    """
    made = bridge or _free(layout)
    address = IPv4Address(made.address.partition("/")[0])
    mac = "02:42:" + address.packed.hex(":")  # as Docker makes that of docker0
    done = namespace.ask(layout.root, "sh", "-c", _BRING_UP, "sh", made.name, made.address, mac)
    if not done.ok:
        hint = "in a container, this requires --privileged; otherwise check that `ip link add x0 type bridge` works"
        raise EngineFailed(f"the bridge {made.name} of ohbuild's engine could not be created: {done.last}", hint)
    return made


def _free(layout: Layout) -> Bridge:
    answer = namespace.ask(layout.root, "ip", "-json", "-4", "route", "show", "table", "all")
    try:
        routes = json.loads(answer.out or "[]") if answer.ok else None
    except ValueError:
        routes = None
    if routes is None:
        raise EngineFailed(f"the routes of this machine cannot be read: {answer.last}", "check `ip route`")
    try:
        servers = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        servers = ""
    for distant in (True, False):
        found = choose(layout.id, busy(routes, servers, layout.id, distant=distant))
        if found:
            return found
    raise EngineFailed(
        "the engine found no free network for its containers in 172.16.0.0/12, 192.168.0.0/16 and 10.208.0.0/12",
        "remove a route from these networks (`ip route`)",
    )


def of(record: Record) -> Bridge:
    """Returns the bridge of an engine that was started."""
    return record.bridge or _DOCKERS_OWN


def fault(bridge: Bridge) -> str:
    """Returns what is wrong with a bridge, as a clause (``is missing``); empty if nothing is."""
    try:
        (flags,) = struct.unpack_from("H", _interface(bridge.name, _SIOCGIFFLAGS), 16)
    except OSError:
        return "is missing"
    if not flags & _IFF_UP:
        return "is down"
    try:
        address = str(IPv4Address(_interface(bridge.name, _SIOCGIFADDR)[20:24]))
    except OSError:
        address = ""
    wanted = bridge.address.partition("/")[0]
    return "" if address == wanted or (address and not wanted) else "has lost its address"


def _interface(name: str, request: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, request, struct.pack("16s24x", name.encode()))


def attach(layout: Layout, bridge: Bridge) -> None:
    """Connects running containers to a bridge that was created again. Their other network settings are still valid."""
    for container in http.docker_json(layout.socket, "/containers/json") or []:
        detail = http.docker_json(layout.socket, f"/containers/{container['Id']}/json") or {}
        mac = detail.get("NetworkSettings", {}).get("Networks", {}).get("bridge", {}).get("MacAddress")
        pid = str(detail.get("State", {}).get("Pid", 0))
        if not mac:
            continue
        links = namespace.ask(layout.root, "nsenter", "--target", pid, "--net", "ip", "-json", "link", "show")
        peer = peer_of(links.out, mac)
        if peer:
            try:
                name = socket.if_indextoname(peer)
            except OSError:
                continue
            namespace.ask(layout.root, "ip", "link", "set", name, "master", bridge.name)


def peer_of(links: str, mac: str) -> int:
    """Returns the index of the host's end of a container's interface.

    Args:
        links: Output of ``ip -json link show`` in the container.
        mac: MAC address of the interface.

    Returns:
        The index; 0 if the container has no such interface.
    """
    try:
        entries = json.loads(links)
    except ValueError:
        return 0
    return next((int(entry.get("link_index", 0)) for entry in entries if entry.get("address") == mac), 0)


def bridges(layout: Layout) -> frozenset[str]:
    """Returns the names of the engine's bridges that exist."""
    return frozenset(name for _, name in socket.if_nameindex() if name.startswith(_prefix(layout.id)))


def delete(layout: Layout) -> None:
    """Deletes the engine's bridges.

    Raises:
        EngineFailed: One cannot be deleted.
    """
    for name in bridges(layout):
        done = namespace.ask(layout.root, "ip", "link", "delete", name)
        if name in bridges(layout):
            hint = f"run `ip link delete {name}`"
            raise EngineFailed(f"the bridge {name} of ohbuild's engine could not be deleted: {done.last}", hint)
