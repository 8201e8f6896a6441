"""How registries are reached: mirrors, plain HTTP and certificates, as a builder is configured.

Sources: BuildKit, ``docs/buildkitd.toml.md`` and ``util/resolver``; Docker, ``daemon/config`` and
https://docs.docker.com/engine/security/certificates.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ohbuild.images.reference import DOCKER_HUB, ImageRef

HUB_HOST = "registry-1.docker.io"
"""Where Docker Hub's images are."""


@dataclass(frozen=True, kw_only=True)
class RegistryConfig:
    """How a builder reaches a registry.

    Attributes:
        mirrors: Registries that are tried first, each ``host[:port][/path]`` or its URL.
        http: Whether it is reached by plain HTTP.
        insecure: Whether its certificate is not checked, and plain HTTP is tried if it has none.
        certificates: Certificates of its CAs (PEM).
    """

    mirrors: tuple[str, ...] = ()
    http: bool = False
    insecure: bool = False
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registries:
    """How a builder reaches registries.

    Attributes:
        configs: The registries that are configured, by ``host[:port]``.
        networks: Networks whose registries are insecure, in CIDR notation.
    """

    configs: Mapping[str, RegistryConfig] = field(default_factory=dict)
    networks: tuple[str, ...] = ()

    def of(self, host: str) -> RegistryConfig:
        """Returns how a registry is reached.

        Args:
            host: The registry, as ``host[:port]``.
        """
        return self.configs.get(host) or RegistryConfig(insecure=self._in_networks(host))

    def with_mirror(self, mirror: str) -> Registries:
        """Returns the same with one mirror for Docker Hub instead of its own."""
        return replace(self, configs={**self.configs, DOCKER_HUB: RegistryConfig(mirrors=(mirror,))})

    def under(self, other: Registries) -> Registries:
        """Returns both, where what the other one configures counts."""
        return Registries({**self.configs, **other.configs}, (*self.networks, *other.networks))

    def _in_networks(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(without_port(host))
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network, strict=False) for network in self.networks)

    def certificates(self, host: str) -> tuple[str, ...]:
        """Returns the CA certificates of a registry (PEM)."""
        return self.of(host).certificates

    def skips_verification(self, host: str) -> bool:
        """Whether a registry's certificate is not checked."""
        return self.of(host).insecure or is_loopback(host)


@dataclass(frozen=True)
class Place:
    """Where to ask for an image.

    Attributes:
        host: The registry, as ``host[:port]``.
        urls: Base URLs, of which the first one that responds counts.
        path: Path of the image's repository there.
    """

    host: str
    urls: tuple[str, ...]
    path: str


def places(image: ImageRef, registries: Registries) -> list[Place]:
    """Returns where to ask for an image, in order: the mirrors of its registry, then the registry itself."""
    found = [_mirror(mirror, image.path, registries) for mirror in registries.of(image.registry).mirrors]
    host = HUB_HOST if image.registry == DOCKER_HUB else image.registry
    return [*found, Place(host, urls(host, registries), image.path)]


def _mirror(mirror: str, path: str, registries: Registries) -> Place:
    scheme, _, rest = mirror.rpartition("://")
    host, _, prefix = rest.strip("/").partition("/")
    prefix = prefix.removeprefix("v2/").strip("/")
    tried = urls(host, registries)
    if scheme:
        tried = (f"{scheme}://{host}",)
    return Place(host, tried, f"{prefix}/{path}" if prefix else path)


def urls(host: str, registries: Registries) -> tuple[str, ...]:
    """Returns the base URLs of a registry, without ``/v2``, in the order in which they are tried.

    Docker and BuildKit use plain HTTP for loopback, and Docker tries HTTPS without verification first. The order makes
    no difference there, since only one of them responds on a port; plain HTTP is the usual one.
    """
    config = registries.of(host)
    if config.insecure and not config.http and not is_loopback(host):
        return f"https://{host}", f"http://{host}"
    if config.http or is_loopback(host):
        return f"http://{host}", f"https://{host}"
    return (f"https://{host}",)


def without_port(host: str) -> str:
    """Returns the host of ``host[:port]``, an IPv6 address without its brackets."""
    return re.sub(r":\d+$", "", host).strip("[]") if host.startswith("[") or host.count(":") < 2 else host


def is_loopback(host: str) -> bool:
    """Checks whether ``host[:port]`` is a loopback address, for which Docker allows plain HTTP."""
    name = without_port(host)
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
