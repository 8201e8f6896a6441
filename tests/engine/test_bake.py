"""Bakes on a real engine, with components that build in a second (tests/fakes.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ohbuild.cli.report import as_data, exit_code
from ohbuild.docker.connection import Connection
from ohbuild.errors import AuditFailed, BuildFailed, ExitCode, ImageNotFound, NoEngine, RegistryError, SeveralErrors
from tests.engine.tiny import AMD64, ARM64, Docker, inspect, job, layers, run, succeeded
from tests.fakes import FAKES, fake_components


def test_runtime_is_the_base_and_the_layers_of_deps(
    engine: Connection, docker: Docker, place: str, tmp_path: Path
) -> None:
    one = docker.base(f"{place}/one:1", tmp_path)
    two = docker.base(f"{place}/two:1", tmp_path, "linux/amd64")
    prepared = job(
        engine,
        tmp_path,
        bases=[one, {"image": two, "platforms": ["linux/amd64"]}],
        image=f"{place}/runtime",
        labels={"org.example.text": 'a "${quoted}" %{text}\nof two lines \\'},
    )
    results = succeeded(prepared)
    deps, first, second = results
    assert first.target.platforms == (AMD64, ARM64)
    assert second.target.platforms == (AMD64,)
    for platform in (AMD64, ARM64):
        ours = layers(deps.tags[0], platform)
        assert len(ours) == 1 + len(FAKES)  # the first one hides an existing /openhands of the base
        assert layers(first.tags[0], platform) == layers(one, platform) + ours
        assert first.sizes[platform] > 0
    assert layers(second.tags[0], AMD64) == layers(two, AMD64) + layers(deps.tags[0], AMD64)

    image = inspect(first.tags[-1])
    assert image.digest == first.outcome.digest
    assert image.env["PATH"] == "/base/bin:/openhands/bin:/openhands/fallback"
    assert image.env["OH_TMUX"] == 'a "$HOME" \\ b'
    assert image.labels["org.example.text"] == 'a "${quoted}" %{text}\nof two lines \\'
    assert image.labels["org.opencontainers.image.base.name"] == one
    assert image.labels["org.opencontainers.image.base.digest"] == inspect(one).digest
    assert image.labels["dev.ohbuild.deps.ref"] == deps.tags[-1]
    assert image.labels["dev.ohbuild.component.tmux"] == "3.5a"
    raw = json.loads(docker("buildx", "imagetools", "inspect", "--raw", second.tags[0]))
    assert raw["annotations"]["org.opencontainers.image.base.name"] == two
    assert [item["platform"]["architecture"] for item in raw["manifests"]] == ["amd64"]
    inside = f"{second.tags[0].rpartition(':')[0]}@{raw['manifests'][0]['digest']}"
    manifest = json.loads(docker("buildx", "imagetools", "inspect", "--raw", inside))
    assert manifest["annotations"] == raw["annotations"]
    config = json.loads(docker("buildx", "imagetools", "inspect", second.tags[0], "--format", "{{json .Image}}"))[
        "config"
    ]
    assert config["User"] == "1234"
    assert config["WorkingDir"] == "/w"
    assert config["Cmd"] == ["/openhands/bin/oh-bash"], "there is no server"
    assert not config.get("Entrypoint")

    again = run(prepared)
    assert [item.outcome.digest for item in again] == [item.outcome.digest for item in results]


def test_the_folder_is_usable_by_hand(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    fakes = fake_components(tmp_path / "fakes", seed=place)
    cold = job(engine, tmp_path, fakes, bases=[base], image=f"{place}/runtime")
    assert len(cold.plan.missing) == 2 * len(FAKES)
    cold.write()
    # from scratch: two calls build everything
    docker("buildx", "bake", "components", cwd=cold.folder)
    docker("buildx", "bake", cwd=cold.folder)
    by_hand = [layers(cold.rendered.tags[target.name][0], ARM64) for target in cold.plan.targets]
    prepared = job(engine, tmp_path, fakes, bases=[base], image=f"{place}/runtime")
    assert not prepared.plan.missing
    results = run(prepared)
    assert [layers(result.tags[0], ARM64) for result in results] == by_hand
    # the images that ohbuild has built can be built again
    for words in (["deps"], ["runtimes"], []):
        docker("buildx", "bake", "--metadata-file", "m.json", *words, cwd=prepared.folder)
        made = json.loads((prepared.folder / "m.json").read_text())
        for result in results:
            if result.target.name in made:
                assert made[result.target.name]["containerimage.digest"] == result.outcome.digest, words


def test_each_platform_gets_its_own_files(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    fakes = fake_components(tmp_path / "fakes")
    for architecture in ("amd64", "arm64"):
        (tmp_path / "fakes" / "core" / architecture).write_text(architecture)
    core = replace(fakes[0], files=("amd64", "arm64"))
    core.template.write_text(
        "FROM scratch AS core\nARG TARGETARCH\nCOPY core/${TARGETARCH} wrappers/oh-core /openhands/core/\n"
    )
    results = run(job(engine, tmp_path, (core, *fakes[1:]), bases=[base], image=f"{place}/runtime"))
    for result in results:
        out = tmp_path / f"out-{result.target.name}"
        file = f"FROM {result.tags[0]}\n"
        words = ["--platform=linux/amd64,linux/arm64", "--output", f"type=local,dest={out}", "-"]
        docker("buildx", "build", *words, stdin=file)
        for architecture in ("amd64", "arm64"):
            folder = out / f"linux_{architecture}" / "openhands" / "core"
            assert [path.name for path in sorted(folder.iterdir())] == [architecture, "oh-core"]


def test_a_failed_runtime_does_not_take_the_others_down(
    engine: Connection, docker: Docker, place: str, tmp_path: Path
) -> None:
    good = [docker.base(f"{place}/good{number}:1", tmp_path) for number in range(2)]
    bases = [good[0], f"{place}/missing:1", good[1], f"{place}/missing:2"]
    results = run(job(engine, tmp_path, bases=bases, image=f"{place}/runtime", preflight=False))
    assert [item["state"] for item in as_data(results)] == ["done", "done", "failed", "done", "failed"]
    assert isinstance(results[2].outcome.error, ImageNotFound)
    assert f"{place}/missing:1" in results[2].outcome.error.message
    for result in (results[1], results[3]):
        assert inspect(result.tags[0]).platforms == (AMD64, ARM64)


def test_a_failed_step_is_told_with_its_line(engine: Connection, place: str, tmp_path: Path) -> None:
    fakes = fake_components(tmp_path / "fakes", broken="python")
    prepared = job(engine, tmp_path, fakes, bases=[f"{place}/any:1"], image=f"{place}/runtime", preflight=False)
    results = run(prepared)
    error = results[0].outcome.error
    assert isinstance(error, BuildFailed)
    assert exit_code(results) == ExitCode.BUILD_FAILED
    assert "python/missing" in error.step
    line = int(error.where.removeprefix("Dockerfile.components:"))
    text = (prepared.folder / "Dockerfile.components").read_text().splitlines()
    assert "python/missing" in text[line - 1]
    assert results[1].outcome.skipped


@pytest.mark.parametrize("what", ["missing", "unreachable", "rubbish"])
def test_no_cache_ever_fails_a_build(engine: Connection, docker: Docker, place: str, tmp_path: Path, what: str) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    cache = {"missing": f"{place}/nothing:here", "unreachable": "127.0.0.1:1/x/cache:deps", "rubbish": base}[what]
    values: dict[str, Any] = {"cache_from": [cache], "cache_to": "off" if what == "rubbish" else cache}
    results = succeeded(job(engine, tmp_path, bases=[base], image=f"{place}/runtime", **values))
    assert inspect(results[1].tags[0]).digest == results[1].outcome.digest
    remarks = " ".join(results[0].outcome.remarks)
    assert ("cache" in remarks) is (what == "unreachable"), "a cache that was not written is reported"


def test_all_that_is_wrong_is_told_before_anything_starts(
    engine: Connection, docker: Docker, place: str, tmp_path: Path
) -> None:
    half = docker.base(f"{place}/half:1", tmp_path, "linux/amd64")
    bases = [half, f"{place}/missing:1", "127.0.0.1:1/x/y:1"]
    with pytest.raises(SeveralErrors) as caught:
        job(engine, tmp_path, bases=bases, image=f"{place}/runtime")
    told = [error.message for error in caught.value.errors]
    assert "has no image for linux/arm64; available: linux/amd64" in told[0]
    assert "has no such image" in told[1]
    assert "cannot be reached" in told[2]
    assert not (tmp_path / "rendered").exists()


def test_a_refused_push_is_a_registry_error(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    # reported before the build if the preflight queries the registry, or else by the push
    with pytest.raises(RegistryError, match=r"registry 127\.0\.0\.1:1 cannot be reached"):
        job(engine, tmp_path, bases=[base], image="127.0.0.1:1/x/runtime", output="push")
    silent = job(engine, tmp_path, bases=[base], image="127.0.0.1:1/x/runtime", output="push", preflight=False)
    results = run(silent)
    assert exit_code(results) == ExitCode.REGISTRY
    assert results[0].outcome.error is not None
    assert "127.0.0.1:1" in results[0].outcome.error.message


class _Refusing(BaseHTTPRequestHandler):
    def _refuse(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="closed"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT = _refuse

    def log_message(self, *args: object) -> None:
        return


def test_a_registry_that_wants_a_log_in_is_told(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    results = run(job(engine, tmp_path, bases=[base], image=f"{host}/x/runtime", output="push"))
    server.shutdown()
    server.server_close()
    assert exit_code(results) == ExitCode.REGISTRY
    assert results[0].outcome.error is not None
    # Some engines use HTTP on any loopback port and get the 401, others only for configured registries.
    hint = results[0].outcome.error.hint
    assert f"docker login {host}" in hint or f"{host}, which uses plain HTTP" in hint


def test_an_unknown_builder_is_told(engine: Connection, place: str, tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="nobody"):
        job(engine, tmp_path, bases=["x:1"], image=f"{place}/runtime", builder="nobody")


def test_load_puts_the_image_into_docker(engine: Connection, docker: Docker, place: str, tmp_path: Path) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    name = f"ohbuild-test/{uuid.uuid4().hex[:12]}"
    results = succeeded(job(engine, tmp_path, bases=[base], image=name, output="load", platforms="linux/amd64"))
    assert docker("image", "ls", "--quiet", results[1].tags[0]).strip()
    docker("image", "rm", *{tag for result in results for tag in result.tags})


class _Slow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.set()  # type: ignore[attr-defined]
        time.sleep(30)

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def slow_server() -> Iterator[ThreadingHTTPServer]:
    """An HTTP server on loopback that delays BuildKit."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    server.daemon_threads = True
    server.asked = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_ctrl_c_leaves_the_builder_usable(
    engine: Connection, docker: Docker, place: str, tmp_path: Path, slow_server: ThreadingHTTPServer
) -> None:
    base = docker.base(f"{place}/base:1", tmp_path)
    tmux = fake_components(tmp_path / "fakes")[2]
    address = f"http://127.0.0.1:{slow_server.server_port}/{uuid.uuid4().hex}"
    tmux.template.write_text(f"FROM scratch AS tmux\nADD {address} /openhands/tmux\n")
    script = textwrap.dedent(f"""
        from pathlib import Path
        import ohbuild.cli as commands
        from ohbuild.bake import job
        from ohbuild.cli.main import main
        from tests.fakes import fake_components
        real = job.prepare
        fakes = fake_components(Path({str(tmp_path / "fakes")!r}))
        commands.bake.prepare = lambda settings, **kw: real(settings, known=fakes, **kw)
        main(["bake", {base!r}, "--image", {place + "/runtime"!r}, "--folder", {str(tmp_path / "rendered")!r}])
    """)
    environment = {**os.environ, **engine.environment(), "OHBUILD_CA_BUNDLE": "off", "OHBUILD_PREFLIGHT": "false"}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert slow_server.asked.wait(60)  # type: ignore[attr-defined]
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, told
    assert time.monotonic() - begin < 25
    assert "Traceback" not in told
    results = run(job(engine, tmp_path / "after", bases=[base], image=f"{place}/runtime"))
    assert exit_code(results) == ExitCode.OK


def test_an_audit_failure_names_file_and_library(engine: Connection, place: str, tmp_path: Path) -> None:
    """Uses the engine's own Debian, because running commands in the build needs a base with a shell."""
    fakes = fake_components(tmp_path / "fakes")
    finding = "ohbuild audit: /openhands/bin/x: libfoo.so.1 is not in /openhands"
    fakes[0].template.write_text(f'FROM debian:trixie AS core\nRUN echo "{finding}" && exit 1\n')
    results = run(
        job(engine, tmp_path, fakes, deps_only=True, image=f"{place}/runtime", preflight=False, platforms="linux/amd64")
    )
    error = results[0].outcome.error
    assert isinstance(error, AuditFailed), error
    assert "/openhands/bin/x: libfoo.so.1" in error.message
