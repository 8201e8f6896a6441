"""Sends requests to registries, within limits of time and size, and again after failures that pass.

Proxies are those of Go's HTTP client and certificates those of Docker, because a build sends the same requests.
"""

from __future__ import annotations

import email.utils
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx

from ohbuild.images.proxies import Proxies, UnusableProxy
from ohbuild.images.transport import Limited, Router
from ohbuild.images.trust import Trust, UnusableCertificate
from ohbuild.text import printable

CONNECT_SECONDS = 5.0
"""Time limit for a connection."""
REQUEST_SECONDS = 15.0
"""Time limit for a request and its answer."""
OPERATION_SECONDS = 40.0
"""Time limit for all requests about one image, with repetitions and pauses."""
ATTEMPTS = 4
_PAUSE_SECONDS = 0.5
_ADD_CA = "add its CA certificate to the system's, or as /etc/docker/certs.d/HOST/ca.crt, where Docker finds it too"
# Statuses after which the same request may succeed (RFC 9110 and 6585). containerd and BuildKit repeat them too.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOST = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.TimeoutException)


class RequestFailed(Exception):
    """There was no answer to a request, or one beyond the limits.

    Args:
        reason: Why, in one line.
        hint: How to fix it; empty if unknown.
        passed_on: Whether another URL of the same registry may respond.
    """

    def __init__(self, reason: str, hint: str = "", *, passed_on: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.passed_on = reason, hint, passed_on


@dataclass(frozen=True)
class Answer:
    """An answer to a request.

    Attributes:
        status: Status code.
        headers: Header fields.
        body: Decoded body.
        attempts: How often the request was sent.
    """

    status: int
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = b""
    attempts: int = 1

    @property
    def reason(self) -> str:
        """The status with its name, and after several attempts their number."""
        try:
            text = f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            text = str(self.status)
        return text + (f" after {self.attempts} attempts" if self.attempts > 1 else "")


class Http:
    """Sends requests. Thread-safe.

    Args:
        proxies: The proxies of the environment.
        trust: The TLS settings of hosts.
        transport: Sends the requests instead of the network.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        proxies: Proxies,
        trust: Trust,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._trust, self._sleep = trust, sleep
        self._transport = transport
        self._proxies = proxies
        self._own = threading.local()
        self._clients: list[httpx.Client] = []

    @property
    def _client(self) -> httpx.Client:
        """A client per thread: the time httpx takes to choose a connection is quadratic in their number."""
        client: httpx.Client | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = httpx.Client(
                transport=self._transport or Router(self._proxies, self._trust),
                timeout=httpx.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS),
                follow_redirects=True,
                trust_env=False,
                headers={"User-Agent": "ohbuild"},
            )
            self._clients.append(client)
        return client

    def close(self) -> None:
        """Closes all connections."""
        for client in self._clients:
            client.close()

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Limits the time of all requests that this thread sends in the block, unless it is in such a block already."""
        if getattr(self._own, "end", None) is not None:
            yield
            return
        self._own.end = time.monotonic() + OPERATION_SECONDS
        try:
            yield
        finally:
            self._own.end = None

    def _left(self) -> float:
        end: float | None = getattr(self._own, "end", None)
        return end - time.monotonic() if end is not None else OPERATION_SECONDS

    def send(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
    ) -> Answer:
        """Sends a request, again after a failure that may pass, and returns the last answer.

        Args:
            method: Method.
            url: URL.
            limit: Maximum size of the decoded body in bytes.
            headers: Header fields.
            query: Parameters to add to those of the URL.
            form: Form to send.
            login: User and password for basic authentication.

        Raises:
            RequestFailed: There is no answer, or its body is larger than the limit.
        """
        for attempt in range(1, ATTEMPTS + 1):
            pause = self._pause(attempt)
            try:
                answer = self._once(method, url, limit, headers=headers, query=query, form=form, login=login)
            except httpx.HTTPError as error:
                if attempt == ATTEMPTS or not _is_lost(error) or pause > self._left():
                    raise self._failed(error) from error
            except (UnusableProxy, UnusableCertificate) as error:
                raise RequestFailed(str(error), "fix it, or unset it", passed_on=False) from error
            except (httpx.InvalidURL, ValueError, LookupError) as error:  # from the registry: a URL, a header field
                raise RequestFailed(printable(str(error)) or type(error).__name__) from error
            else:
                if after := answer.headers.get("retry-after", ""):
                    pause = _retry_after(after, pause)
                if answer.status not in _TRANSIENT or attempt == ATTEMPTS or pause > self._left():
                    return Answer(answer.status, answer.headers, answer.body, attempt)
            self._sleep(pause)
        raise AssertionError("unreachable")

    def _once(self, method: str, url: str, limit: int, **given: Any) -> Answer:
        address = httpx.URL(url)
        if query := given.pop("query"):
            address = address.copy_merge_params(query)
        form, login, headers = given["form"], given["login"], given["headers"]
        auth = httpx.BasicAuth(*login) if login else None
        seconds = min(REQUEST_SECONDS, self._left())
        if seconds <= 0:
            raise httpx.ReadTimeout("timed out")
        with (
            Limited(seconds),
            self._client.stream(method, address, headers=headers, data=form, auth=auth) as response,
        ):
            body = bytearray()
            for chunk in response.iter_bytes(65536):
                body += chunk
                if len(body) > limit:
                    raise RequestFailed(f"its answer is larger than {limit // 2**20} MiB", passed_on=False)
            return Answer(response.status_code, response.headers, bytes(body))

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str]) -> Iterator[tuple[int, Iterable[bytes]]]:
        """Yields the status of an answer and an iterator over its raw body, which has no limit.

        Raises:
            RequestFailed: The request failed, also while the body is read.
        """
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                yield response.status_code, response.iter_raw()
        except httpx.HTTPError as error:
            raise self._failed(error) from error

    def _pause(self, attempt: int) -> float:
        return _PAUSE_SECONDS * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)  # no secret

    def _failed(self, error: httpx.HTTPError) -> RequestFailed:
        """Returns the error for a request without an answer."""
        reason = _reason(error)
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            return RequestFailed(reason)
        problem = self._trust.problem()
        return RequestFailed(reason, f"{problem}: fix or unset it" if problem else _ADD_CA)


def _reason(error: httpx.HTTPError) -> str:
    """Returns why a request failed, without OpenSSL's codes and lines."""
    if isinstance(error, httpx.TimeoutException):
        return "it did not respond in time"
    text = re.sub(r"^\[[^\]]*\] ?|\s*\(_ssl\.c:\d+\)$", "", str(error))
    return printable(text) or type(error).__name__


def _is_lost(error: httpx.HTTPError) -> bool:
    """Whether a connection was lost, so that another may work."""
    if isinstance(error, httpx.RemoteProtocolError):
        return "disconnected" in str(error) or "closed" in str(error)
    return isinstance(error, _LOST)


def _retry_after(text: str, pause: float) -> float:
    """Returns how long to wait in seconds (RFC 9110, section 10.2.3), at least ``pause``."""
    if text.strip().isdigit():
        return max(pause, float(text[:9]))
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return pause
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(pause, (moment - datetime.now(UTC)).total_seconds())
