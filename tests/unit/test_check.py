from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ohbuild.check.base import BaseReport, State, as_data, check, exit_code, judge, notes, remarks
from ohbuild.check.environment import environment_remarks
from ohbuild.errors import ExitCode, ImageNotFound, PlatformMissing, RegistryError, RegistryRefused, WontWork
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image, Registry
from tests.registry_server import Images

AMD64, ARM64 = Platform.parse("amd64"), Platform.parse("arm64")
WINDOWS = Platform.parse("windows/amd64")
TODAY = datetime(2026, 11, 22, tzinfo=UTC)
BASE = ImageRef.parse("a.b/base:1")
# Like Docker Hub's debian, which causes no remarks.
PLAIN: dict[str, Any] = {"platform": AMD64, "env": {"PATH": "/usr/bin:/bin"}, "cmd": ("bash",), "created": TODAY}


def config(**values: Any) -> ImageConfig:
    return ImageConfig(**{**PLAIN, **values})


def rules(made: ImageConfig, *, fatal: bool = False) -> list[str]:
    return [remark.rule for remark in remarks(made, today=TODAY) if remark.fatal is fatal]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"cmd": ()},
        {"cmd": ("/bin/sh",)},
        {"cmd": ("/bin/sh", "-c", "/bin/bash")},
        {"cmd": ("python3",)},
        {"cmd": ("bash", "-l")},
        {"user": "root"},
        {"user": "0:0"},
        {"volumes": ("/data", "/openhandsome")},
        {"healthcheck": ("NONE",)},
        {"stop_signal": "SIGTERM"},
        {"stop_signal": "15"},
        {"workdir": "/openhandsome"},
        {"created": None},
        {"size": 4_999_999_999},
        {"labels": {"org.opencontainers.image.title": "x"}},
        {
            "env": {
                **PLAIN["env"],
                "PYTHON_VERSION": "3.12",
                "LANG": "C.UTF-8",
                "HOME": "/home/me",
                "NODE_VERSION": "24",
            }
        },
        {"env": {**PLAIN["env"], "LANG": "C", "TERM": "xterm", "PYTHONUNBUFFERED": "1", "http_proxy": ""}},
    ],
)
def test_what_is_usual_is_no_remark(values: dict[str, Any]) -> None:
    assert remarks(config(**values), today=TODAY) == []


@pytest.mark.parametrize(
    ("values", "rule", "text"),
    [
        ({"onbuild": ("ENV A=b",)}, "onbuild", "ONBUILD ENV A=b"),
        ({"volumes": ("/openhands/workspace",)}, "volume", "VOLUME at /openhands/workspace"),
        ({"labels": {"dev.ohbuild.key": "x"}}, "openhands", "itself a runtime or deps image"),
        ({"workdir": "/openhands/code"}, "openhands", "by its WORKDIR"),
        ({"env": {"PATH": "/usr/bin:/openhands/bin"}}, "openhands", "by its PATH"),
        ({"history": ("COPY x /openhands/y # buildkit",)}, "openhands", "by its history"),
        ({"user": "1000:1000"}, "user", "user 1000:1000"),
        ({"user": "node"}, "user", "user node"),
        ({"entrypoint": ("/entry.sh", "x")}, "entrypoint", "[/entry.sh, x] is not run"),
        ({"cmd": ("nginx", "-g", "daemon off;")}, "cmd", "[nginx, -g, daemon off;] is not run"),
        ({"cmd": ("/bin/sh", "-c", "node server.js")}, "cmd", "node server.js"),
        ({"healthcheck": ("CMD", "curl", "x")}, "healthcheck", "is disabled"),
        ({"stop_signal": "SIGQUIT"}, "stopsignal", "SIGQUIT"),
        ({"size": 7_500_000_000}, "size", "7.5 GB"),
        ({"created": datetime(2021, 8, 14, tzinfo=UTC)}, "age", "2021-08-14"),
    ],
)
def test_each_rule(values: dict[str, Any], rule: str, text: str) -> None:
    found = remarks(config(**values), today=TODAY)
    assert rule in [remark.rule for remark in found if not remark.fatal]
    assert text in " ".join(remark.text for remark in found)
    assert all(remark.meaning and "\n" not in remark.text + remark.meaning for remark in found)
    assert not any(remark.fatal for remark in found)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"onbuild": ("RUN make",)}, "onbuild"),
        ({"onbuild": ("ENV A=b", "copy . /app")}, "onbuild"),
        ({"onbuild": ("WORKDIR /x",)}, "onbuild"),
        ({"volumes": ("/openhands",)}, "volume"),
        ({"volumes": ("/openhands/",)}, "volume"),
        ({"volumes": ("//x/../openhands",)}, "volume"),
    ],
)
def test_what_cannot_work(values: dict[str, Any], rule: str) -> None:
    assert rules(config(**values), fatal=True) == [rule]


@pytest.mark.parametrize(
    ("env", "rule", "text"),
    [
        ({}, "path", "no PATH"),
        ({"PATH": ""}, "path", "PATH is empty"),
        ({"PATH": "/bin:"}, "path", "an empty entry"),
        ({"PATH": "node_modules/.bin:/bin"}, "path", "'node_modules/.bin'"),
        *(
            ({"PATH": "/bin", name: "/base/x"}, "environment", f"{name}=/base/x")
            for name in (
                "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT",
                "NODE_OPTIONS", "LOCPATH", "GCONV_PATH", "TMUX", "OPENSSL_CONF",
            )
        ),
        *(
            ({"PATH": "/bin", name: "x"}, "shell", f"{name}=x")
            for name in (
                "TMOUT", "PS0", "PS1", "PROMPT_COMMAND", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "POSIXLY_CORRECT",
            )
        ),
        *(
            ({"PATH": "/bin", name: "/base/x"}, "certificates", f"{name}=/base/x")
            for name in (
                "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
            )
        ),
        ({"PATH": "/bin", "OH_SERVER_PORT": "1", "PIP_TARGET": "/x"}, "settings", "OH_SERVER_PORT, PIP_TARGET"),
        ({"PATH": "/bin", "DEBUG": "1", "LOG_LEVEL": "x"}, "settings", "DEBUG, LOG_LEVEL"),
        ({"PATH": "/bin", "http_proxy": "http://p:1"}, "proxy", "it sets http_proxy"),
        ({"PATH": "/bin", "HOME": "/nonexistent"}, "home", "HOME is /nonexistent"),
        ({"PATH": "/bin", "HOME": ""}, "home", "HOME is empty"),
        ({"PATH": "/bin", "LANG": "de_DE.ISO-8859-1"}, "terminal", "LANG=de_DE.ISO-8859-1"),
        ({"PATH": "/bin", "TERM": "dumb"}, "terminal", "TERM=dumb"),
    ],
)  # fmt: skip
def test_each_rule_about_the_environment(env: dict[str, str], rule: str, text: str) -> None:
    (remark,) = environment_remarks(env)
    assert remark.rule == rule
    assert text in remark.text


def test_no_secret_is_shown() -> None:
    env = {
        "PATH": "/bin",
        "SESSION_API_KEY": "hunter2",
        "PIP_INDEX_URL": "http://me:hunter2@x",
        "http_proxy": "hunter2",
    }
    assert "hunter2" not in str(environment_remarks(env))


def report(*configs: ImageConfig, wanted: tuple[Platform, ...] = (AMD64, ARM64)) -> BaseReport:
    made = {made.platform: made for made in configs}
    image = Image(
        digest="sha256:x", sizes=dict.fromkeys(made, 1), configs={p: c for p, c in made.items() if p in wanted}
    )
    return judge(BASE, wanted, image, today=TODAY)


def test_the_same_on_all_platforms_is_told_once() -> None:
    both = report(config(user="me"), config(platform=ARM64, user="me"))
    assert [(remark.rule, remark.platforms) for remark in both.remarks] == [("user", ())]
    one = report(config(), config(platform=ARM64, user="me"))
    assert [(remark.rule, remark.platforms) for remark in one.remarks] == [("user", (ARM64,))]
    assert one.state is State.REMARKS


def test_missing_platforms_and_other_systems() -> None:
    half = report(config())
    assert (half.state, [type(error) for error in half.errors]) == (State.WONT_WORK, [PlatformMissing])
    assert "has no image for linux/arm64; available: linux/amd64" in half.errors[0].message
    windows = report(config(platform=WINDOWS))
    assert (windows.state, [type(error) for error in windows.errors]) == (State.WONT_WORK, [WontWork])
    assert "no Linux image; available: windows/amd64" in windows.errors[0].message
    assert report().state is State.WONT_WORK


def test_all_that_is_wrong_with_a_base_is_told() -> None:
    made = report(config(onbuild=("RUN x",), volumes=("/openhands",), user="me"))
    assert len(made.errors) == 3
    assert [remark.rule for remark in made.remarks] == ["user"]


def test_the_exit_code() -> None:
    fine = report(config(), config(platform=ARM64))
    remarked = report(config(user="me"), config(platform=ARM64))
    wrong = report(config())
    unknown = replace(fine, errors=(RegistryError("down"),))
    assert unknown.state is State.UNKNOWN
    assert exit_code([fine, remarked]) == ExitCode.OK
    assert exit_code([fine, unknown]) == ExitCode.REGISTRY
    assert exit_code([unknown, wrong]) == ExitCode.USAGE


def test_notes_are_brief() -> None:
    some = [report(config(user="me"), config(platform=ARM64)) for _ in range(10)]
    lines = notes([*some, report(config(), config(platform=ARM64))])
    assert len(lines) == 9
    assert lines[0] == "a.b/base:1: it runs as user me (details: `ohbuild check`)"
    assert lines[-1] == "2 more bases have remarks: see `ohbuild check`"


def test_as_data() -> None:
    (data,) = as_data([report(config(), config(platform=ARM64, user="me"))])
    assert (data["base"], data["state"], data["digest"]) == ("a.b/base:1", "remarks", "sha256:x")
    assert data["remarks"][0]["platforms"] == ["linux/arm64"]
    assert data["configs"]["linux/arm64"]["user"] == "me"


def test_each_base_has_its_own_verdict() -> None:
    """A missing, a refused, an unreachable and a usable base are checked in parallel; no error hides another."""

    images = Images()
    images.image("fine:latest", "linux/amd64")

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "down.example":
            raise httpx.ConnectError("connection refused")
        if "/private/" in request.url.path:
            return httpx.Response(401)
        reply = images.answer(request.url.path)
        return httpx.Response(reply.status, content=reply.body, headers=reply.headers)

    client = Registry(config_dir=Path("/nowhere"), transport=httpx.MockTransport(handler))
    names = ["a.b/fine", "a.b/missing", "a.b/private", "down.example/x"]
    found = check(client, [(ImageRef.parse(name), (AMD64,)) for name in names], today=TODAY)
    client.close()
    assert [item.state for item in found] == [State.OK, State.WONT_WORK, State.UNKNOWN, State.UNKNOWN]
    assert [type(error) for item in found for error in item.errors] == [ImageNotFound, RegistryRefused, RegistryError]
    assert str(found[0].base) == "a.b/fine"


DOCKER_INSPECT: dict[str, Any] = {
    "Os": "linux", "Architecture": "arm64", "Variant": "v8", "Created": "2024-05-01T10:20:30.123456789Z",
    "Config": {"User": "me", "Env": ["A=b=c", "D"], "Entrypoint": None, "Cmd": ["x"], "Volumes": {"/v": {}},
               "OnBuild": None, "Healthcheck": {"Test": ["CMD", "y"]}, "StopSignal": "SIGINT", "Labels": None},
}  # fmt: skip


def test_a_config_is_read_from_a_blob_and_from_docker() -> None:
    made = ImageConfig.parse(DOCKER_INSPECT, size=7)
    assert made.platform == ARM64
    assert made.created == datetime(2024, 5, 1, 10, 20, 30, 123456, tzinfo=UTC)
    assert (made.env, made.cmd, made.volumes, made.healthcheck) == (
        {"A": "b=c", "D": ""},
        ("x",),
        ("/v",),
        ("CMD", "y"),
    )
    blob = {
        "os": "linux",
        "architecture": "arm64",
        "created": "1970-01-01T00:00:00Z",
        "config": DOCKER_INSPECT["Config"],
    }
    blob["history"] = [{"created_by": "COPY x"}, {"empty_layer": True}]
    again = ImageConfig.parse(blob, size=7)
    assert again == replace(made, created=None, history=("COPY x",))


@pytest.mark.parametrize("body", [{"config": {"Env": 3}}, {"config": "x"}, {"config": {}, "history": 1}])
def test_rubbish_is_no_config(body: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        ImageConfig.parse(body)
