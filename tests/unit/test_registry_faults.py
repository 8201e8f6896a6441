"""Registries that fail, refuse and limit: real connections to a server on loopback."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ohbuild.errors import ImageNotFound, OhbuildError, RegistryError, RegistryRefused
from ohbuild.images import http
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.images.registry_config import Registries
from tests.registry_server import Reply, Request, Server, serving

AUTH = base64.b64encode(b"me:secret").decode()
DENIED = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'


class Sleeps(list[float]):
    """Notes the pauses instead of waiting."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@contextmanager
def client(
    folder: Path,
    config: object = None,
    registries: Registries | None = None,
    sleeps: Sleeps | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Registry]:
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    variables = {"PATH": "/usr/bin:/bin", **(environ or {})}
    made = Registry(registries, folder, environ=variables, sleep=Sleeps() if sleeps is None else sleeps)
    with closing(made):
        yield made


def in_turn(server: Server, replies: Sequence[Reply | None]) -> None:
    """Gives these answers to the first requests, and the right ones afterwards; ``None`` closes the connection."""
    left = list(replies)
    server.answer = lambda request: left.pop(0) if left else server.images.answer(request.path)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        made.images.image("c:1")
        yield made


# --- failures that pass ---


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, None])
def test_one_failure_that_passes_is_not_the_end(server: Server, tmp_path: Path, status: int | None) -> None:
    in_turn(server, [None if status is None else Reply(status)] * 2)
    sleeps = Sleeps()
    with client(tmp_path, sleeps=sleeps) as registry:
        assert len(registry.resolve(ImageRef.parse(f"{server.host}/c:1")).platforms) == 2
    assert len(sleeps) == 2
    assert 0 < sleeps[0] < sleeps[1] < 2


@pytest.mark.parametrize("status", [400, 404, 405, 501, 418])
def test_a_final_failure_is_not_repeated(server: Server, tmp_path: Path, status: int) -> None:
    in_turn(server, [Reply(status)] * 9)
    with client(tmp_path) as registry, pytest.raises(OhbuildError):
        registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
    assert len(server.requests) == 1


def test_the_pause_that_a_registry_asks_for_is_kept(server: Server, tmp_path: Path) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    in_turn(server, [Reply(429, headers={"Retry-After": value}) for value in ("7", moment, "nonsense")])
    sleeps = Sleeps()
    with client(tmp_path, sleeps=sleeps) as registry:
        registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
    assert sleeps[0] == 7
    assert 6 < sleeps[1] < 10
    assert sleeps[2] < 5


def test_a_pause_of_an_hour_is_reported_at_once(server: Server, tmp_path: Path) -> None:
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
    in_turn(server, [Reply(429, body, {"Retry-After": "3600"})] * 9)
    with client(tmp_path) as registry, pytest.raises(RegistryError) as caught:
        registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
    assert "You have reached your pull rate limit. (TOOMANYREQUESTS)" in caught.value.message
    assert not isinstance(caught.value, RegistryRefused)
    assert len(server.requests) == 1


def test_the_registrys_own_message_is_in_the_error(server: Server, tmp_path: Path) -> None:
    body = json.dumps({"errors": [{"code": "UNAVAILABLE", "message": "back at \x1b[31mnoon\n" + "x" * 999}]}).encode()
    in_turn(server, [Reply(503, body)] * 9)
    with client(tmp_path) as registry, pytest.raises(RegistryError) as caught:
        registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
    assert f"returned 503 Service Unavailable after {http.ATTEMPTS} attempts: back at \\x1b[31mnoon x" in str(
        caught.value
    )
    assert len(caught.value.message) < 600


# --- logging in ---


def protected(server: Server, challenge: str, accepted: Sequence[str], token: Callable[[Request], Reply]) -> None:
    """Requires one of some ``Authorization`` headers, and answers at ``/token``."""

    def answer(request: Request) -> Reply | None:
        if request.path.startswith("/token"):
            return token(request)
        if request.headers.get("authorization") in accepted:
            return server.images.answer(request.path)
        return Reply(401, DENIED, {"WWW-Authenticate": challenge.replace("HOST", server.host)})

    server.answer = answer


BEARER = 'Negotiate, Basic realm="x", Bearer realm="http://HOST/token?from=x",service="s&t"'


def test_a_token_is_requested_with_the_credentials_and_the_realms_own_query(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str | None, dict[str, list[str]]]] = []

    def token(request: Request) -> Reply:
        seen.append((request.headers.get("authorization"), parse_qs(urlsplit(request.path).query)))
        return Reply(200, b'{"token": "T"}')

    protected(server, BEARER, ["Bearer T"], token)
    with client(tmp_path, {"auths": {f"http://{server.host}/v1/": {"auth": AUTH}}}) as registry:
        registry.describe(ImageRef.parse(f"{server.host}/c:1"), ())
    assert seen == [(f"Basic {AUTH}", {"from": ["x"], "service": ["s&t"], "scope": ["repository:c:pull"]})]


def test_an_identity_token_is_exchanged(server: Server, tmp_path: Path) -> None:
    def token(request: Request) -> Reply:
        form = parse_qs(request.form)
        assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["I"])
        return Reply(200, b'{"access_token": "A"}')

    protected(server, BEARER, ["Bearer A"], token)
    with client(tmp_path, {"auths": {server.host: {"identitytoken": "I"}}}) as registry:
        assert registry.exists(ImageRef.parse(f"{server.host}/c:1"))


@pytest.mark.parametrize(
    ("entry", "challenge", "header"),
    [
        ({"auth": AUTH}, 'Basic realm="x"', f"Basic {AUTH}"),
        ({"username": "me", "password": "secret"}, "Basic", f"Basic {AUTH}"),
        ({"registrytoken": "R"}, BEARER, "Bearer R"),
    ],
)
def test_other_logins(server: Server, tmp_path: Path, entry: dict[str, str], challenge: str, header: str) -> None:
    protected(server, challenge, [header], lambda request: Reply(500))
    with client(tmp_path, {"auths": {server.host: entry}}) as registry:
        assert registry.exists(ImageRef.parse(f"{server.host}/c:1"))


@pytest.mark.parametrize("reference", ["HOST/c:1", "debian:1"])
def test_a_token_that_expires_is_requested_again(server: Server, tmp_path: Path, reference: str) -> None:
    """A builder that runs for hours would otherwise take all images of Docker Hub for missing."""
    valid = ["Bearer T1"]
    issued: list[str] = []

    def token(request: Request) -> Reply:
        issued.append(f"T{len(issued) + 1}")
        return Reply(200, json.dumps({"token": issued[-1]}).encode())

    protected(server, BEARER, valid, token)
    server.images.image("library/debian:1")
    with client(tmp_path, registries=Registries().with_mirror(server.host)) as registry:
        image = ImageRef.parse(reference.replace("HOST", server.host))
        assert registry.exists(image)
        valid[:] = ["Bearer T2"]
        assert registry.exists(image)
    assert issued == ["T1", "T2"]


@pytest.mark.parametrize(
    ("status", "body", "refused", "said"),
    [
        (401, DENIED, True, "rejected the login: requested access to the resource is denied (DENIED)"),
        (403, b"", True, "rejected the login"),
        (429, b"", False, "could not check the login: 429 Too Many Requests"),
        (500, b"", False, "could not check the login: 500"),
        (503, b'{"details": "maintenance"}', False, "could not check the login: 503"),
        (403, b'{"error": "x", "message": "quota exceeded"}', False, "could not check the login: 403"),
        (200, b"<html>", False, "returned no token"),
        (200, b'{"token": ["a"]}', False, "returned no token"),
        (200, b'{"token": "a\\nb"}', False, "returned no token"),
    ],
)
def test_a_token_server_that_fails_refuses_nothing(
    server: Server, tmp_path: Path, status: int, body: bytes, said: str, *, refused: bool
) -> None:
    """A refusal may mean that an image is missing. This must not."""
    protected(server, BEARER, [], lambda request: Reply(status, body))
    with client(tmp_path, {"auths": {server.host: {"auth": AUTH}}}) as registry, pytest.raises(RegistryError) as caught:
        registry.digest(ImageRef.parse(f"{server.host}/c:1"))
    assert isinstance(caught.value, RegistryRefused) is refused
    assert ("docker login" in caught.value.hint) is refused
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, DENIED, RegistryRefused),
        (403, DENIED, RegistryRefused),
        (403, b"", RegistryRefused),
        (403, b'{"errors":[{"code":"DENIED","message":"Quota exceeded for project"}]}', RegistryError),
        (403, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}', RegistryError),
        (404, b"", ImageNotFound),
        (406, b"", RegistryError),
        (304, b"", RegistryError),
    ],
)
def test_refusals_are_told_apart(
    server: Server, tmp_path: Path, status: int, body: bytes, kind: type[OhbuildError]
) -> None:
    server.answer = lambda request: Reply(status, body)
    with client(tmp_path) as registry, pytest.raises(OhbuildError) as caught:
        registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
    assert type(caught.value) is kind
    assert ("docker login" in caught.value.hint) is (kind is RegistryRefused)


def test_docker_hub_hides_whether_a_private_image_exists(server: Server, tmp_path: Path) -> None:
    server.answer = lambda request: Reply(401)
    proxy = {"HTTPS_PROXY": f"http://{server.host}"}
    registries = Registries().with_mirror(server.host)
    with client(tmp_path, registries=registries, environ=proxy) as registry, pytest.raises(ImageNotFound):
        registry.resolve(ImageRef.parse("me/private"))


def test_credentials_that_cannot_be_read_are_named_where_they_are_needed(server: Server, tmp_path: Path) -> None:
    image = ImageRef.parse(f"{server.host}/c:1")
    with client(tmp_path, "{") as registry:
        assert registry.exists(image), "no login is needed"
        protected(server, 'Basic realm="x"', [], lambda request: Reply(500))
        with pytest.raises(RegistryRefused) as caught:
            registry.exists(image)
    assert f"{tmp_path / 'config.json'} is not valid JSON" in caught.value.hint
    with client(tmp_path, {"credsStore": "nowhere"}) as registry, pytest.raises(RegistryError) as failed:
        registry.exists(image)
    assert "docker-credential-nowhere is not installed" in failed.value.message
    assert not isinstance(failed.value, RegistryRefused)


@pytest.mark.parametrize(
    "realm", ["", "nonsense", "http://[bad/", "ftp://x/", "http://HOST/\x7f", "http://127.0.0.1:1/"]
)
def test_a_realm_may_be_anything(server: Server, tmp_path: Path, realm: str) -> None:
    protected(server, f'Bearer realm="{realm}"', [], lambda request: Reply(500))
    with client(tmp_path) as registry, pytest.raises(RegistryError):
        registry.exists(ImageRef.parse(f"{server.host}/c:1"))


# --- limits ---


def test_a_registry_that_sends_a_byte_now_and_then_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(http, "OPERATION_SECONDS", 1.0)

    def dripping(request: Request) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                request.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass

    with serving(dripping) as server, client(tmp_path) as registry:
        begin = time.monotonic()
        with pytest.raises(RegistryError, match="did not respond in time"):
            registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
        assert time.monotonic() - begin < 10, "it would send for 50 s"


@pytest.mark.parametrize("location", ["/v2/c/manifests/1", "http://[bad", "ftp://x/", "http://127.0.0.1:1/"])
def test_redirects_that_lead_nowhere(tmp_path: Path, location: str) -> None:
    with serving(lambda request: Reply(307, headers={"Location": location})) as server, client(tmp_path) as registry:
        with pytest.raises(RegistryError):
            registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
        assert len(server.requests) < 60


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"\x00" * 70_000,
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX: \xff\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 999 \x1b[31m\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_reported(tmp_path: Path, raw: bytes) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(raw)

    with serving(answer) as server, client(tmp_path) as registry:
        with pytest.raises(RegistryError) as caught:
            registry.resolve(ImageRef.parse(f"{server.host}/c:1"))
        assert "\x1b" not in caught.value.message
