"""Chooses the proxy of a request by the rules of Go's HTTP client, which Docker and BuildKit use.

See golang.org/x/net/http/httpproxy. ``ALL_PROXY`` has no meaning there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

SCHEMES = ("http", "https", "socks5", "socks5h")
"""Schemes of proxies that Go supports."""
_PORTS = {"http": "80", "https": "443"}
_VARIABLES = {"http": "HTTP_PROXY", "https": "HTTPS_PROXY"}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class UnusableProxy(ValueError):
    """A proxy variable that a request needs cannot be used; the message names it."""


@dataclass(frozen=True)
class Proxy:
    """A proxy, and where it is set.

    Attributes:
        url: URL of the proxy, which may contain a password.
        variable: Name of the environment variable.
    """

    url: str
    variable: str


class _Matcher(Protocol):
    def __call__(self, host: str, port: str, address: _Address | None) -> bool: ...


class Proxies:
    """The proxies of an environment.

    Args:
        environ: Environment variables. Names in capitals take precedence.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._exceptions = _exceptions(_either(environ, "NO_PROXY")[1])

    def of(self, url: str) -> Proxy | None:
        """Returns the proxy of a request; ``None`` if it is sent directly.

        Args:
            url: URL of the request.

        Raises:
            UnusableProxy: The request needs a proxy whose variable has no usable value.
        """
        parts = urlsplit(url)
        if parts.scheme not in _VARIABLES:
            return None
        variable, value = _either(self._environ, _VARIABLES[parts.scheme])
        if not value.strip() or self._is_direct(parts):
            return None
        if parts.scheme == "http" and self._environ.get("REQUEST_METHOD"):
            # In a CGI program, the variable may come from a client (https://httpoxy.org).
            raise UnusableProxy(f"{variable} cannot be used, because REQUEST_METHOD is set as in a CGI program")
        return Proxy(_proxy_url(variable, value.strip()), variable)

    def _is_direct(self, parts: SplitResult) -> bool:
        host = (parts.hostname or "").lower()
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        try:
            port = str(parts.port or _PORTS[parts.scheme])
        except ValueError:
            port = ""
        return any(matches(_ascii(host), port, address) for matches in self._exceptions)


def _either(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Returns the variable that is set, in capitals or small letters, and its value."""
    for variable in (name, name.lower()):
        if value := environ.get(variable, ""):
            return variable, value
    return name, ""


def _proxy_url(variable: str, value: str) -> str:
    """Returns the URL of a proxy; a value without a known scheme is a host."""
    url = value if value.partition("://")[0] in SCHEMES and "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and not re.search(r"[\s\x00-\x1f]", url)
    except ValueError:
        usable = False
    if not usable or "://" in url.partition("://")[2]:
        raise UnusableProxy(f"{variable}={without_password(value)!r} is not a proxy (known: {', '.join(SCHEMES)})")
    return url


def without_password(text: str) -> str:
    """Returns a URL or an address without its password."""
    return re.sub(r"(^|//)[^/@\s]*@", r"\1…@", text)


def _exceptions(value: str) -> list[_Matcher]:
    """Parses ``NO_PROXY``."""
    found: list[_Matcher] = []
    for word in value.split(","):
        item = word.strip().lower()
        if item == "*":
            return [lambda host, port, address: True]
        if item and (matcher := _matcher(item)):
            found.append(matcher)
    return found


def _matcher(item: str) -> _Matcher | None:
    if "/" in item and (network := _network(item)):
        return lambda host, port, address: address is not None and _in(address, network)
    host, port = _split_port(item)
    if not host:
        return None
    if wanted := _address(host):
        return lambda name, number, address: address is not None and _same(address, wanted) and port in ("", number)
    # `.example.com` and `*.example.com` are for its subdomains, `example.com` for itself too.
    suffix = host.removeprefix("*") if host.startswith("*.") else host
    exact = "" if suffix.startswith(".") else _ascii(suffix)
    suffix = _ascii(suffix if suffix.startswith(".") else f".{suffix}")
    return lambda name, number, address: (name.endswith(suffix) or name == exact) and port in ("", number)


def _split_port(item: str) -> tuple[str, str]:
    """Splits ``host:port`` and ``[address]:port`` as Go's ``net.SplitHostPort``; without a port, it is empty."""
    if found := re.fullmatch(r"\[([^\[\]]*)\]:([^:]*)|([^:\[\]]*):([^:\[\]]*)", item):
        return found[1] or found[3] or "", found[2] or found[4] or ""
    return item, ""


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    """Returns the IPv4 address of an IPv4-mapped one."""
    return getattr(address, "ipv4_mapped", None) or address


def _same(one: _Address, other: _Address) -> bool:
    return _plain(one) == _plain(other)


def _in(address: _Address, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    plain = _plain(address)
    return plain.version == network.version and plain in network


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return host
