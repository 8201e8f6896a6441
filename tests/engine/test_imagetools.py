"""ohbuild and `docker buildx imagetools inspect` agree on what a registry has, refuses or breaks."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from ohbuild.docker.connection import Connection
from ohbuild.errors import ImageNotFound, NotAnImage, RegistryError, RegistryRefused
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.engine.runtime import docker
from tests.registry_server import CONFIG, INDEX, LAYER, MANIFEST, Reply, Request, Server, serving

AUTH = base64.b64encode(b"me:secret").decode()
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
TOKENS = {"Content-Type": "application/json"}
DENIED = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'


class Verdict(StrEnum):
    FOUND = "found"
    NOT_FOUND = "not found"
    REFUSED = "refused"
    BROKEN = "broken"


Make = Callable[[Server], None]


def put(body: object, kind: str = INDEX) -> Make:
    def make(server: Server) -> None:
        server.images.put(body, kind, "c:1")

    return make


def index(*extra: object, kind: str = INDEX, keep: bool = True) -> Make:
    """Returns an index with an image and other entries."""

    def make(server: Server) -> None:
        entries = [server.images.manifest("linux/amd64")] if keep else []
        server.images.put({"schemaVersion": 2, "mediaType": kind, "manifests": [*entries, *extra]}, kind, "c:1")

    return make


def nested(server: Server) -> None:
    inner = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [server.images.manifest()]}
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [server.images.put(inner, INDEX)]}
    server.images.put(body, INDEX, "c:1")


def manifest(kind: str = MANIFEST, **fields: Any) -> Make:
    def make(server: Server) -> None:
        config = server.images.put({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers"}}, CONFIG)
        layer = {"mediaType": LAYER, "digest": f"sha256:{'0' * 64}", "size": 1}
        body = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer], **fields}
        server.images.put(body, kind, "c:1")

    return make


def answer(status: int, body: bytes = b"", **headers: str) -> Make:
    def make(server: Server) -> None:
        named = {name.replace("_", "-"): value.replace("HOST", server.host) for name, value in headers.items()}
        server.answer = lambda request: Reply(status, body, named)

    return make


def login(challenge: str, accepted: str, token: Reply | None = None) -> Make:
    """Returns a registry that wants a login."""

    def make(server: Server) -> None:
        server.images.image("c:1")

        def reply(request: Request) -> Reply:
            if request.path.startswith("/token"):
                return token or Reply(200, b'{"token":"T","access_token":"T"}', TOKENS)
            if request.headers.get("authorization") == accepted:
                return server.images.answer(request.path)
            return Reply(401, DENIED, {"WWW-Authenticate": challenge.replace("HOST", server.host)})

        server.answer = reply

    return make


def first(count: int, reply: Reply | None) -> Make:
    """Returns a registry that fails a few times."""

    def make(server: Server) -> None:
        server.images.image("c:1")
        left = [reply] * count
        server.answer = lambda request: left.pop() if left else server.images.answer(request.path)

    return make


def headers(**changed: str) -> Make:
    """Returns a registry that changes header fields of its answers, or leaves them out."""

    def make(server: Server) -> None:
        server.images.image("c:1")

        def reply(request: Request) -> Reply:
            found = server.images.answer(request.path)
            named = {**found.headers, **{name.replace("_", "-"): value for name, value in changed.items()}}
            return Reply(found.status, found.body, {name: value for name, value in named.items() if value})

        server.answer = reply

    return make


def redirect(server: Server) -> None:
    server.images.image("c:1")
    server.answer = lambda request: (
        Reply(307, headers={"Location": f"http://{server.host}/moved{request.path}"})
        if not request.path.startswith("/moved")
        else server.images.answer(request.path.removeprefix("/moved"))
    )


BEARER = 'Bearer realm="http://HOST/token",service="s",scope="repository:c:pull"'
SITUATIONS: dict[str, Make] = {
    "index": index(),
    "docker index": index(kind=DOCKER_INDEX),
    "manifest": manifest(),
    "docker manifest": manifest(DOCKER_MANIFEST),
    "nested index": nested,
    "empty index": index(keep=False),
    "index with an artifact": index({"mediaType": "application/x.artifact", "digest": f"sha256:{'1' * 64}", "size": 1}),
    "index with an entry that is gone": index({"mediaType": MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 1,
                                               "platform": {"os": "linux", "architecture": "s390x"}}),
    "artifact": manifest(artifactType="application/x.sbom"),
    "chart": manifest(config={"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": f"sha256:{'1' * 64}",
                              "size": 2}),
    "page": put(b"<html></html>", "text/html"),
    "no JSON": put(b"{", INDEX),
    "list": put([], INDEX),
    "manifests of the wrong type": put({"schemaVersion": 2, "mediaType": INDEX, "manifests": {}}),
    "missing": answer(404),
    "missing with a message": answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}'),
    "gone": answer(410),
    "bad request": answer(400),
    "not acceptable": answer(406),
    "forbidden": answer(403, DENIED),
    "forbidden without a word": answer(403),
    "unauthorized without a challenge": answer(401),
    "basic, no login": login('Basic realm="r"', "nothing"),
    "basic": login('Basic realm="r"', f"Basic {AUTH}"),
    "bearer": login(BEARER, "Bearer T"),
    "bearer with a query in its realm": login('Bearer realm="http://HOST/token?a=b",service="s"', "Bearer T"),
    "bearer and basic": login(f'Basic realm="r", {BEARER}', "Bearer T"),
    "bearer, refused": login(BEARER, "nothing"),
    "token refused": login(BEARER, "Bearer T", Reply(401, DENIED, TOKENS)),
    "token forbidden": login(BEARER, "Bearer T", Reply(403, DENIED, TOKENS)),
    "access token": login(BEARER, "Bearer A", Reply(200, b'{"access_token":"A"}', TOKENS)),
    "no token": login(BEARER, "Bearer T", Reply(200, b"{}", TOKENS)),
    "unavailable once": first(1, Reply(503)),
    "reset once": first(1, None),
    "too many requests once": first(1, Reply(429)),
    "unavailable": answer(503),
    "too many requests": answer(429),
    "internal server error": answer(500),
    "redirect": redirect,
    "redirect without end": answer(307, Location="http://HOST/v2/c/manifests/1"),
    "no digest in the header": headers(Docker_Content_Digest=""),
    "wrong digest in the header": headers(Docker_Content_Digest=f"sha256:{'1' * 64}"),
    "no media type in the header": headers(Content_Type="application/json"),
    "media type with a character set": headers(Content_Type=f"{INDEX}; charset=utf-8"),
}  # fmt: skip
# Where we differ, and why.
EXCEPT = {
    "bearer and basic": "containerd reads one challenge per header field; RFC 9110 allows several",
    "reset once": "containerd does not send HEAD again; ohbuild repeats what a later attempt may answer",
    "wrong digest in the header": "containerd requests the wrong digest, which does not exist",
}


@pytest.fixture(scope="module")
def plugins(engine: Connection) -> str:
    """The folder of the client's buildx, which is found beside its configuration otherwise."""
    words = ("info", "--format", '{{range .ClientInfo.Plugins}}{{if eq .Name "buildx"}}{{.Path}}{{end}}{{end}}')
    return str(Path(docker(engine, *words).strip()).parent)


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_verdict_is_that_of_imagetools(engine: Connection, name: str, plugins: str, tmp_path: Path) -> None:
    with serving() as server:
        SITUATIONS[name](server)
        auths = {server.host: {"auth": AUTH}} if "no login" not in name else {}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths, "cliPluginsExtraDirs": [plugins]}))
        theirs, said = imagetools(engine, f"{server.host}/c:1", tmp_path)
        SITUATIONS[name](server)
        ours, message = ohbuild(f"{server.host}/c:1", tmp_path)
    assert (ours is theirs) is (name not in EXCEPT), f"imagetools: {said}\nohbuild: {message}"


def imagetools(engine: Connection, reference: str, folder: Path) -> tuple[Verdict, str]:
    done = subprocess.run(
        [str(engine.docker), "buildx", "imagetools", "inspect", reference], capture_output=True, text=True, check=False,
        env={**os.environ, **engine.environment(), "DOCKER_CONFIG": str(folder)}, timeout=120,
    )  # fmt: skip
    if not done.returncode:
        return Verdict.FOUND, done.stdout
    said = done.stderr.strip()
    if re.search(r"not found|404", said):
        return Verdict.NOT_FOUND, said
    refused = re.search(r"401|403|denied|authorization failed|unauthorized", said, re.IGNORECASE)
    return (Verdict.REFUSED if refused else Verdict.BROKEN), said


def ohbuild(reference: str, folder: Path) -> tuple[Verdict, str]:
    with closing(Registry(config_dir=folder)) as registry:
        try:
            registry.resolve(ImageRef.parse(reference))
        except NotAnImage as error:
            return Verdict.FOUND, error.message
        except ImageNotFound as error:
            return Verdict.NOT_FOUND, error.message
        except RegistryRefused as error:
            return Verdict.REFUSED, error.message
        except RegistryError as error:
            return Verdict.BROKEN, error.message
    return Verdict.FOUND, ""
