"""`ohbuild check` of a hundred bases, of which every tenth has a registry that answers in another broken way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.registry_server import MANIFEST, Images, Reply, Request, serving

LIMIT_SECONDS = 90.0
"""Twice the limit for a base: with eight at a time, those that never answer may be in two rounds."""


def hanging(request: Request) -> None:
    time.sleep(60)


def rubbish(request: Request) -> None:
    request.wfile.write(b"\x1b[2Jnonsense\r\n\r\n")


def lost(request: Request) -> None:
    request.connection.close()


BROKEN: dict[str, tuple[Callable[[Request], Reply | None] | None, str]] = {
    "hanging": (hanging, "did not respond in time"),
    "rubbish": (rubbish, "cannot be reached"),
    "lost": (lost, "cannot be reached"),
    "down": (lambda request: Reply(503, b'{"errors":[{"message":"maintenance"}]}'), "after 4 attempts: maintenance"),
    "limited": (lambda request: Reply(429, b"", {"Retry-After": "3600"}), "429 Too Many Requests"),
    "private": (lambda request: Reply(401, b"", {"WWW-Authenticate": "Basic realm=x"}), "requires a login"),
    "missing": (lambda request: Reply(404), "has no such image"),
    "page": (lambda request: Reply(200, b"<html>", {"Content-Type": "text/html"}), "is not JSON"),
    "chart": (None, "is not a container image but application/vnd.cncf.helm.config.v1+json"),
    "typed": (None, "User has the wrong type"),
}


def fill(images: Images) -> None:
    images.image("base:1")
    images.image("typed:1", config={"User": ["\x1b[31m"]})
    config = images.put({}, "application/vnd.cncf.helm.config.v1+json")
    images.put({"config": config, "layers": []}, MANIFEST, "chart:1")


def test_one_odd_base_costs_no_other_its_verdict(tmp_path: Path) -> None:
    with serving() as server:
        fill(server.images)

        def answer(request: Request) -> Reply | None:
            name = request.path.split("/")[2]
            special = BROKEN.get(name, (None, ""))[0]
            path = request.path if name in BROKEN else request.path.replace(f"/{name}/", "/base/", 1)
            return special(request) if special else server.images.answer(path)

        server.answer = answer
        names = [list(BROKEN)[number // 10] if number % 10 == 5 else f"base{number}" for number in range(100)]
        command = [sys.executable, "-m", "ohbuild", "check", "--bases-file", "-", "--platform", "linux/amd64", "--json"]
        begin = time.monotonic()
        done = subprocess.run(
            command, input="\n".join(f"{server.host}/{name}:1" for name in names), cwd=tmp_path, text=True, check=False,
            env={**os.environ, "HOME": str(tmp_path), "PATH": "/nowhere", "OHBUILD_ENGINE_DIR": str(tmp_path)},
            capture_output=True,
        )  # fmt: skip
        seconds = time.monotonic() - begin
    assert "internal error" not in done.stdout + done.stderr
    reports = json.loads(done.stdout)["bases"]
    assert [report["base"].split("/")[1] for report in reports] == [f"{name}:1" for name in names]
    for name, report in zip(names, reports, strict=True):
        if name in BROKEN:
            (error,) = report["errors"]
            assert BROKEN[name][1] in error["message"]
            assert error["message"].isprintable()
        else:
            assert report["state"] == "ok"
    assert done.returncode == 2, "there are bases that are not usable"
    assert seconds < LIMIT_SECONDS
