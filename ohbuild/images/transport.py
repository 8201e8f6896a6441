"""Connections to registries: through the proxy and with the TLS settings of each host, within a time limit."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from ohbuild.images.proxies import Proxies
from ohbuild.images.trust import Trust

_ERRORS = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.TimeoutException, httpx.ReadTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.ProxyError, httpx.ProxyError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
)
_limit = threading.local()


class Limited:
    """Limits the time of everything that this thread sends and receives in a ``with`` block.

    httpx limits each step, so a host that sends a byte now and then would never be given up.

    Args:
        seconds: The limit in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        _limit.end = time.monotonic() + self._seconds

    def __exit__(self, *_: object) -> None:
        _limit.end = None


def _left(seconds: float | None, error: type[Exception]) -> float | None:
    end: float | None = getattr(_limit, "end", None)
    if end is None:
        return seconds
    left = end - time.monotonic()
    if left <= 0:
        raise error("timed out")
    return left if seconds is None else min(seconds, left)


class Router(httpx.BaseTransport):
    """Sends each request through the proxy and with the TLS settings of its host.

    Args:
        proxies: The proxies of the environment.
        trust: The TLS settings of hosts.
    """

    def __init__(self, proxies: Proxies, trust: Trust) -> None:
        self._proxies, self._trust = proxies, trust
        self._pools: dict[tuple[str, ssl.SSLContext | None], httpcore.ConnectionPool] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request.

        Raises:
            UnusableProxy: The variable with its proxy has no usable value.
            UnusableCertificate: A certificate for its host cannot be read.
            httpx.TransportError: There was no answer.
        """
        url = request.url
        pool = self._pool(url)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        assert isinstance(request.stream, httpx.SyncByteStream)
        with _translated():
            answer = pool.handle_request(
                httpcore.Request(
                    request.method, target, headers=request.headers.raw, content=request.stream,
                    extensions=request.extensions,
                )
            )  # fmt: skip
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        proxy = self._proxies.of(str(url))
        context = self._trust.context(url.netloc.decode("ascii")) if url.scheme == "https" else None
        key = (proxy.url if proxy else "", context)
        if key not in self._pools:
            self._pools[key] = httpcore.ConnectionPool(
                ssl_context=context,
                proxy=self._proxy(proxy.url) if proxy else None,
                network_backend=_Backend(),
            )
        return self._pools[key]

    def _proxy(self, text: str) -> httpcore.Proxy:
        proxy = httpx.Proxy(text.replace("socks5h://", "socks5://", 1))
        context = self._trust.context(proxy.url.netloc.decode("ascii")) if proxy.url.scheme == "https" else None
        return httpcore.Proxy(
            httpcore.URL(scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=b"/"),
            auth=proxy.raw_auth,
            ssl_context=context,
        )

    def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            pool.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for ours, theirs in _ERRORS:
            if isinstance(error, ours):
                raise theirs(str(error)) from error
        raise


class _Body(httpx.SyncByteStream):
    """The body of an answer."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            yield from self._stream

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


class _Backend(httpcore.SyncBackend):
    """Connects within the time limit."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    """A connection that keeps to the time limit."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=_left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=_left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname=server_hostname, timeout=left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
