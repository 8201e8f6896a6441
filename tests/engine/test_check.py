"""`ohbuild check` with the engine's real registry, whose access log shows what was requested."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import Job, prepare
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.errors import ExitCode, SeveralErrors, WontWork
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry as Reader
from tests.cpu import cheapest
from tests.engine.pushed import DOCKER, Pushed, Registry
from tests.engine.tiny import succeeded
from tests.fakes import fake_components

BOTH = "linux/amd64,linux/arm64"
SECONDS = 3.0
CPU_SECONDS = 3.0
ATTEMPTS = 15
PLAIN = {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"]}
HOSTILE = {
    "User": "1234",
    "Env": ["PATH=", "PYTHONHOME=/nowhere", "LD_PRELOAD=/x.so", "HOME=/nonexistent", "TERM=dumb"],
    "Entrypoint": ["/entry.sh"],
    "Healthcheck": {"Test": ["CMD", "false"]},
    "StopSignal": "SIGQUIT",
    "WorkingDir": "/openhands/code",
}


@pytest.fixture(scope="module")
def registry(own_registry: str) -> Iterator[Registry]:
    with closing(Registry(own_registry)) as made:
        yield made


@pytest.fixture
def place() -> str:
    """A repository prefix that only this test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


def ohbuild(engine: Connection, *words: str, cwd: Path) -> tuple[int, dict[str, Any], float]:
    """Runs the command as a user would, and returns its exit code, its JSON and its seconds."""
    environment = {**os.environ, **engine.environment()}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ohbuild", *words, "--json"],
        env=environment, cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - start
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), seconds


class Log:
    """The requests to the registry below a repository prefix, since this object was created."""

    def __init__(self, file: Path, place: str) -> None:
        self._file, self._place, self._start = file, place, file.stat().st_size

    def requests(self) -> list[tuple[str, str]]:
        """Returns method and path of each request."""
        time.sleep(0.3)  # a line is written after the response
        with self._file.open("rb") as stream:
            stream.seek(self._start)
            text = stream.read().decode()
        return [found for found in re.findall(r'"([A-Z]+) (/v2/\S*) HTTP', text) if f"/v2/{self._place}/" in found[1]]


def digests(requests: list[tuple[str, str]], kind: str) -> Counter[str]:
    """Returns what was requested below ``/manifests/`` or ``/blobs/``, and how often."""
    return Counter(path.rpartition("/")[2].partition("?")[0] for _, path in requests if f"/{kind}/" in path)


def test_twenty_bases_in_a_moment_and_no_layer(
    engine: Connection, registry: Registry, registry_log: Path, place: str, tmp_path: Path
) -> None:
    bases = [registry.image(f"{place}/base-{number}:1", PLAIN) for number in range(20)]
    words = [*(base.reference for base in bases), "--platform", BOTH]
    times: list[float] = []
    # The best of a few attempts counts, so that other load on the machine does not matter.
    while len(times) < ATTEMPTS and min(times, default=SECONDS) >= SECONDS:
        log = Log(registry_log, place)
        code, data, seconds = ohbuild(engine, "check", *words, cwd=tmp_path)
        times.append(seconds)
        asked = log.requests()
        assert code == ExitCode.OK
        assert [base["state"] for base in data["bases"]] == ["ok"] * 20
        # For each base the index, and for each platform a manifest and a config: nothing else, and nothing twice.
        assert {method for method, _ in asked} == {"GET"}
        assert digests(asked, "blobs") == Counter(config for base in bases for config in base.configs)
        assert digests(asked, "manifests") == Counter(["1"] * 20 + [item for base in bases for item in base.manifests])
        assert len(asked) == 20 * 5
    print(f"\n20 bases in {min(times):.2f} s, {len(asked)} requests")
    assert min(times) < SECONDS, times


def test_five_hundred_bases_cost_seconds_of_cpu(
    engine: Connection, registry: Registry, registry_log: Path, place: str, tmp_path: Path
) -> None:
    base = registry.image(f"{place}/base:1", PLAIN)
    references = registry.tag(f"{place}/base:1", (f"1.{number}" for number in range(500)))
    log = Log(registry_log, place)
    attempts = 0

    def check() -> None:
        nonlocal attempts
        attempts += 1
        code, data, _ = ohbuild(engine, "check", *references, "--platform", BOTH, cwd=tmp_path)
        assert code == ExitCode.OK
        assert [item["state"] for item in data["bases"]] == ["ok"] * 500

    spent = cheapest(check, CPU_SECONDS, ATTEMPTS)
    asked = log.requests()
    assert len(asked) == attempts * 500 * 5
    assert not set(digests(asked, "blobs")) & set(base.layers)
    print(f"\n500 bases in {spent:.2f} s of CPU")
    assert spent < CPU_SECONDS


def test_each_base_gets_its_verdict(engine: Connection, registry: Registry, place: str, tmp_path: Path) -> None:
    made = {
        "docker": registry.image(f"{place}/docker:1", PLAIN, kinds=DOCKER),
        "single": registry.image(f"{place}/single:1", PLAIN, kinds=DOCKER, index=False),
        "hostile": registry.image(f"{place}/hostile:1", HOSTILE),
        "half": registry.image(f"{place}/half:1", PLAIN, platforms=("linux/amd64",)),
        "windows": registry.image(f"{place}/windows:1", PLAIN, platforms=("windows/amd64",)),
        "onbuild": registry.image(f"{place}/onbuild:1", {**PLAIN, "OnBuild": ["COPY . /app"]}),
        "volume": registry.image(f"{place}/volume:1", {**PLAIN, "Volumes": {"/openhands": {}}}),
        "chart": registry.image(
            f"{place}/chart:1", config_type="application/vnd.cncf.helm.config.v1+json", index=False
        ),
        "missing": Pushed(f"{registry.address}/{place}/missing:1", (), (), ()),
        "down": Pushed("127.0.0.1:1/x/y:1", (), (), ()),
    }
    words = [*(item.reference for item in made.values()), "--platform", "linux/amd64"]
    code, data, _ = ohbuild(engine, "check", *words, cwd=tmp_path)
    assert code == ExitCode.USAGE
    found = dict(zip(made, data["bases"], strict=True))
    assert {name: base["state"] for name, base in found.items()} == {
        "docker": "ok",
        "single": "ok",
        "hostile": "remarks",
        "half": "ok",
        "windows": "wont-work",
        "onbuild": "wont-work",
        "volume": "wont-work",
        "chart": "wont-work",
        "missing": "wont-work",
        "down": "unknown",
    }
    rules = [remark["rule"] for remark in found["hostile"]["remarks"]]
    assert rules == [
        "openhands", "user", "entrypoint", "healthcheck", "stopsignal", "path", "environment", "home", "terminal",
    ]  # fmt: skip
    assert "windows/amd64" in found["windows"]["errors"][0]["message"]
    assert "helm" in found["chart"]["errors"][0]["message"]
    assert ohbuild(engine, "check", made["down"].reference, cwd=tmp_path)[0] == ExitCode.REGISTRY
    assert ohbuild(engine, "check", made["hostile"].reference, cwd=tmp_path)[0] == ExitCode.OK


def job(engine: Connection, tmp_path: Path, bases: list[Pushed], image: str, **settings: Any) -> Job:
    values = {"folder": tmp_path / "rendered", "platforms": BOTH, "ca_bundle": "off", "image": image, **settings}
    values |= {"bases": [base.reference for base in bases], "build_image": bases[0].reference}
    fakes = fake_components(tmp_path / f"fakes-{uuid.uuid4().hex[:6]}", seed=image)
    return prepare(Settings(**values), known=fakes, connect=lambda: engine)


def test_bake_stops_with_one_list_of_all_that_is_wrong(
    engine: Connection, registry: Registry, registry_log: Path, place: str, tmp_path: Path
) -> None:
    bases = [
        registry.image(f"{place}/fine:1", PLAIN),
        registry.image(f"{place}/onbuild:1", {**PLAIN, "OnBuild": ["RUN x"], "Volumes": {"/openhands": {}}}),
        registry.image(f"{place}/windows:1", PLAIN, platforms=("windows/amd64",)),
        Pushed(f"{registry.address}/{place}/missing:1", (), (), ()),
    ]
    log = Log(registry_log, place)
    with pytest.raises(SeveralErrors) as caught:
        job(engine, tmp_path, bases, f"{registry.address}/{place}/runtime")
    told = [error.message for error in caught.value.errors]
    assert len(told) == 4
    assert sum(isinstance(error, WontWork) for error in caught.value.errors) == 3
    assert all(any(word in text for text in told) for word in ("ONBUILD RUN x", "VOLUME at /openhands", "windows"))
    assert "missing:1" in told[3]
    assert not (tmp_path / "rendered").exists()
    asked = log.requests()
    assert max(Counter(path for _, path in asked).values()) == 1, "something was asked for twice"


def test_a_base_with_a_service_is_not_pulled_and_its_service_is_off(
    engine: Connection, registry: Registry, registry_log: Path, place: str, tmp_path: Path
) -> None:
    """HEALTHCHECK and STOPSIGNAL only change the config, like every other line after the COPYs."""
    base = registry.image(f"{place}/hostile:1", HOSTILE)
    prepared = job(engine, tmp_path, [base], f"{registry.address}/{place}/runtime")
    assert len(prepared.remarks) == 1
    assert "it runs as user 1234" in prepared.remarks[0]
    log = Log(registry_log, place)
    results = succeeded(prepared)
    asked = log.requests()
    assert not set(digests([item for item in asked if item[0] == "GET"], "blobs")) & set(base.layers)
    with closing(Reader()) as reader:
        platform = Platform.parse("linux/arm64")
        made = reader.describe(ImageRef.parse(results[1].tags[0]), [platform]).configs[platform]
    assert made.healthcheck == ("NONE",)
    assert made.stop_signal == "SIGTERM"
    assert made.entrypoint == ()
    assert (made.user, made.workdir) == ("1234", "/openhands/code")
    assert made.env["PYTHONHOME"] == "/nowhere"
    assert made.env["PATH"].startswith("/usr/local/sbin:")
    assert made.env["PATH"].endswith(":/openhands/bin:/openhands/fallback")


def test_a_base_that_only_docker_has_is_judged_by_what_docker_says(engine: Connection, tmp_path: Path) -> None:
    """Docker's own builder finds a base that was only built locally, so `bake` would find it too."""
    name = f"ohbuild-test/{uuid.uuid4().hex[:12]}:1"
    environment = {**os.environ, **engine.environment()}
    words = ["buildx", "build", "--quiet", "--load", "--provenance=false", "--tag", name, "-"]
    text = "FROM scratch\nUSER me\nENV PATH=/bin\nLABEL a=b\n"
    subprocess.run([str(engine.docker), *words], input=text, text=True, env=environment, check=True)
    try:
        code, data, _ = ohbuild(engine, "check", name, cwd=tmp_path)
        assert (code, data["bases"][0]["state"]) == (ExitCode.OK, "remarks")
        assert [remark["rule"] for remark in data["bases"][0]["remarks"]] == ["user"]
        assert data["bases"][0]["digest"] is None
        code, data, _ = ohbuild(engine, "check", name.replace(":1", ":2"), cwd=tmp_path)
        assert (code, data["bases"][0]["state"]) == (ExitCode.USAGE, "wont-work")
    finally:
        subprocess.run([str(engine.docker), "image", "rm", name], env=environment, check=True, capture_output=True)
