"""Thousands of answers that a registry should not give: each gives a verdict or an error that a person can read."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from ohbuild.check import base as check
from ohbuild.errors import OhbuildError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.registry_server import CONFIG, INDEX, LAYER, MANIFEST, Images

# With the profile "ci" 2500 registries, with more than 5000 answers.
SEEDS, ROUNDS = (5, 500) if hypothesis.settings().max_examples >= 100 else (1, 250)
ANSWERS = 2 * ROUNDS
BASE = ImageRef.parse("registry.example/c:1")
WANTED = (Platform.parse("amd64"), Platform.parse("arm64"))
TODAY = datetime(2026, 1, 1, tzinfo=UTC)
ODD: list[Any] = [
    None, True, False, 0, -1, 3.5, 10**30, "", " ", "\x1b[2J\r\n\x00", "\ud800", "a" * 5000, [], {}, [[]], [None],
    {"": None}, "linux", "sha256:", f"sha256:{'0' * 64}", "0001-01-01T00:00:00Z", "9999-99-99", "PATH",
    ["A=b", 1], {"a": ["b"]},
    {"mediaType": INDEX}, {"digest": 5}, [{"digest": "x"}] * 3, "application/vnd.oci.image.index.v1+json", "__class__",
]  # fmt: skip


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the paths of all values inside of a value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += nodes(inner, (*path, key))
    return found


def mutated(luck: random.Random, value: Any) -> Any:
    """Returns a JSON value with one change."""
    copy = json.loads(json.dumps(value))
    *path, last = luck.choice(nodes(copy))
    place = copy
    for key in path:
        place = place[key]
    change = luck.randrange(4)
    if change == 0:
        del place[last]
    elif change == 1 and isinstance(place, list):
        place += place
    elif change == 2 and isinstance(place, dict):
        place[str(last).upper()] = place.pop(last)
    else:
        place[last] = luck.choice(ODD)
    return copy


def encoded(luck: random.Random, value: Any, chance: float) -> bytes:
    """Returns a value as JSON, sometimes changed or damaged."""
    while luck.random() < chance and nodes(value):
        value = mutated(luck, value)
    data = json.dumps(value).encode()
    if luck.random() > chance / 4:
        return data
    return luck.choice([
        b"", b"null", b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b'{"manifests":[NaN,Infinity]}',
        data[: len(data) // 2], data.replace(b"{", b"[", 1), data.replace(b'"', b'\\"', 3), data + b"\xff\xfe",
        data.decode().encode("utf-16"),
    ])  # fmt: skip


def images(luck: random.Random) -> Images:
    """Returns a registry with the image ``c:1``; its digests are right, whatever it contains."""
    made = Images()
    chance = luck.choice([0.02, 0.1, 0.5])

    def put(value: Any, kind: str, tag: str = "") -> Any:
        return made.put(encoded(luck, value, chance), kind, tag)

    entries = []
    for word in ("amd64", "arm64"):
        inner = {
            "Env": ["PATH=/bin", "A=b"], "User": "u", "Cmd": ["sh"], "Labels": {"a": "b"}, "Volumes": {"/v": {}},
            "Healthcheck": {"Test": ["CMD", "x"]}, "OnBuild": ["RUN x"], "WorkingDir": "/w", "StopSignal": "SIGINT",
        }  # fmt: skip
        config = {
            "os": "linux", "architecture": word, "created": "2025-01-01T00:00:00Z",
            "config": luck.choice([inner, {"Env": ["PATH=/bin"]}]),
            "history": [{"created_by": "x"}], "rootfs": {"type": "layers", "diff_ids": []},
        }  # fmt: skip
        layer = {"mediaType": LAYER, "digest": f"sha256:{'0' * 64}", "size": 9}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": put(config, CONFIG), "layers": [layer]}
        entries.append({**put(manifest, MANIFEST), "platform": {"os": "linux", "architecture": word}})
    put({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX, "c:1")
    return made


def server(luck: random.Random, count: list[int]) -> Callable[[httpx.Request], httpx.Response]:
    """Returns what answers the requests of one round."""
    store = images(luck)

    def answer(request: httpx.Request) -> httpx.Response:
        count[0] += 1
        if luck.random() < 0.03:
            status = luck.choice([200, 204, 301, 400, 401, 403, 404, 406, 416, 429, 500, 503, 599])
            errors = {"errors": [{"code": "X\x1b[1m", "message": "one\ntwo\x07", "detail": {}}], "token": "T"}
            odd = ["\x01", 'Bearer realm="http://registry.example/token"', "Basic", "Bearer realm=,", "5", "text/html"]
            names = ["www-authenticate", "retry-after", "docker-content-digest", "content-type", "location"]
            return httpx.Response(
                status, content=encoded(luck, errors, 0.5), headers={name: luck.choice(odd) for name in names}
            )
        reply = store.answer(request.url.path)
        return httpx.Response(reply.status, content=reply.body, headers=reply.headers)

    return answer


@pytest.mark.hypothesis
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_answer_gives_a_verdict_or_an_error(seed: int) -> None:
    luck, count, seen = random.Random(seed), [0], set[str]()
    for _ in range(ROUNDS):
        transport = httpx.MockTransport(server(luck, count))
        made = Registry(config_dir=Path("/nowhere"), environ={}, transport=transport, sleep=lambda _: None)
        with closing(made) as registry:
            (report,) = check.check(registry, [(BASE, WANTED)], today=TODAY)
            errors = list(report.errors)
            for ask in (registry.inspect, registry.digest):
                try:
                    ask(BASE)
                except OhbuildError as error:
                    errors.append(error)
        texts = [text for error in errors for text in (error.message, error.hint)]
        texts += [text for remark in report.remarks for text in (remark.text, remark.meaning)]
        assert all(text.isprintable() and len(text) < 1000 for text in texts), texts
        json.dumps(check.as_data([report]))
        seen.add(report.state)
    assert count[0] > ANSWERS
    assert seen == set(check.State), "both good and bad images must be among them"
