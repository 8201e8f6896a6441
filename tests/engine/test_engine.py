"""A real private engine: a second one with its own folder and port, next to the one that is running.

Its root is a hard-linked copy of the shared engine's, so that tests spend no time on creating it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ohbuild import process
from ohbuild.docker.connection import Connection
from ohbuild.engine import http
from ohbuild.engine.bootstrap import host_architecture
from ohbuild.engine.state import read_record
from tests.engine.private import Private, private_engine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the private engine")
_HERE = Path(__file__).parent


def test_up_twice_is_harmless_and_quick(private: Private) -> None:
    before = read_record(private.layout)
    started = time.monotonic()
    out, _ = private("up")
    assert time.monotonic() - started < 20  # 0.4 s on an idle machine, and creating its root takes half a minute
    assert "was already up" in out
    assert read_record(private.layout) == before


def test_find_is_quick(private: Private) -> None:
    code = (
        "import time; from ohbuild.engine.find import find; started = time.process_time(); found = find();"
        "print(time.process_time() - started, found.origin, found.registry)"
    )
    said = subprocess.run([sys.executable, "-c", code], env=private.env, capture_output=True, text=True, check=True)
    seconds, origin, registry = said.stdout.split()
    assert float(seconds) < 0.3
    assert (origin, registry) == ("ohbuild", f"localhost:{private.layout.port}")


def test_status_tells_all_in_json(private: Private) -> None:
    data = json.loads(private("status", "--json")[0])
    assert data["engine"] == "ohbuild"
    assert set(data["versions"]) == {"client", "server", "buildx"}
    assert data["private"]["up"]
    assert data["private"]["disk"]["engine"] > 100_000_000
    assert "engine " in private("status")[0]


def test_the_users_docker_configuration_is_read_and_not_changed(private: Private, home: Path) -> None:
    private("status")
    assert sorted(path.name for path in (home / ".docker").iterdir()) == ["config.json"]
    assert json.loads((home / ".docker/config.json").read_text())["currentContext"] == "far"
    ours = json.loads((private.layout.client / "config.json").read_text())
    assert ours == {"auths": {"r.example": {"auth": "eDp5"}}}


def test_the_engine_leaves_nothing_mounted_outside(private: Private) -> None:
    assert str(private.layout.dir) not in Path("/proc/self/mountinfo").read_text()


def test_a_base_is_seeded_under_its_ordinary_name_and_runs(private: Private, rootfs: Path) -> None:
    machine = host_architecture()
    out, err = private("seed", "org/tiny:1", "--from", rootfs, "--json")
    made = json.loads(out)
    assert made["made"]
    assert list(made["platforms"]) == [f"linux/{machine}"]
    assert "pushing" in err
    assert private.docker("run", "--rm", "org/tiny:1", "/bin/echo", "here") == "here"
    again, _ = private("seed", "org/tiny:1", "--from", rootfs, "--json")
    assert json.loads(again) == {**made, "made": False}
    # the same files give the same image
    forced, _ = private("seed", "org/tiny:1", "--from", rootfs, "--json", "--force")
    assert json.loads(forced) == made


def test_platforms_are_merged_and_resolve_by_mirror_and_by_address(
    private: Private, rootfs: Path, tmp_path: Path
) -> None:
    private("seed", "tiny:2", "--from", rootfs)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=other\n")
    foreign = "arm64" if host_architecture() == "amd64" else "amd64"
    tar = tmp_path / "other.tar.gz"
    subprocess.run(["tar", "-C", tmp_path, "-czf", tar, "etc"], check=True)
    private("seed", "tiny:2", "--from", tar, "--platform", foreign)
    assert set(http.platforms_of(private.layout.port, "library/tiny", "2")) == {"linux/amd64", "linux/arm64"}
    (tmp_path / "Dockerfile").write_text("ARG FROM\nFROM ${FROM}\n")
    for name in ("tiny:2", f"localhost:{private.layout.port}/library/tiny:2"):
        for platform, id_ in ((host_architecture(), "tiny"), (foreign, "other")):
            where = tmp_path / f"out-{id_}"
            words = ("--platform", f"linux/{platform}", "--build-arg", f"FROM={name}", "--output", str(where))
            private.docker("buildx", "build", "--quiet", *words, str(tmp_path))
            assert (where / "etc/os-release").read_text() == f"ID={id_}\n"


def test_seeding_tells_what_is_wrong(private: Private, rootfs: Path, tmp_path: Path) -> None:
    foreign = "arm64" if host_architecture() == "amd64" else "amd64"
    for words, why in (
        (("seed", "fedora:43"), "only debian can"),
        (("seed", "debian:trixy"), "'trixie'"),
        (("seed", "tiny:3", "--from", tmp_path / "none"), "no such file"),
        (("seed", "tiny:3", "--from", rootfs, "--platform", foreign), "contains programs for"),
        (("seed", "Tiny:3", "--from", rootfs), "Tiny"),
    ):
        _, err = private(*words, code=2)
        assert why in " ".join(err.split())


def _leftovers(private: Private) -> list[str]:
    mine = process.find_by_argument(str(private.layout.dir / "seed-"), frozenset({"mmdebstrap", "perl", "apt-get"}))
    return [path.name for path in private.layout.dir.glob("seed-*")] + [str(stray) for stray in mine]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_seed_leaves_nothing(private: Private, number: signal.Signals) -> None:
    command = private.start("seed", "debian:sid", "--platform", host_architecture())
    log = private.layout.logs / f"seed-debian-sid-{host_architecture()}.log"
    until = time.monotonic() + 60
    while not (log.exists() and "downloading packages" in log.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    assert command.poll() is None
    command.send_signal(number)
    _, err = command.communicate(timeout=30)
    log.unlink()
    assert command.returncode == 130, err
    assert "Traceback" not in err
    assert _leftovers(private) == []
    assert str(private.layout.dir) not in Path("/proc/self/mountinfo").read_text()
    assert http.platforms_of(private.layout.port, "library/debian", "sid") == {}


def test_up_mends_an_engine_of_which_something_was_killed(private: Private) -> None:
    private.docker("volume", "create", "kept")
    record = read_record(private.layout)
    assert record is not None
    assert record.dockerd is not None
    os.kill(record.dockerd.pid, signal.SIGKILL)
    assert not json.loads(private("status", "--json")[0])["private"]["up"]
    out, _ = private("up")
    assert "is up" in out
    now = read_record(private.layout)
    assert now is not None
    assert now.registry == record.registry  # it was not restarted
    assert "kept" in private.docker("volume", "ls", "--quiet")


def test_a_taken_port_is_an_error_with_its_mend(private: Private, shared_root: Path, home: Path) -> None:
    with private_engine(shared_root, home) as other:
        process.ask(["cp", "-a", "--link", shared_root, other.layout.root], timeout=60)
        other.env["OHBUILD_ENGINE_REGISTRY_PORT"] = str(private.layout.port)
        _, err = other("up", code=3)
        said = " ".join(err.split())
        assert f"port {private.layout.port}" in said
        assert "another registry" in said
        assert "OHBUILD_ENGINE_REGISTRY_PORT" in said


def test_an_interrupted_up_leaves_no_half_root(shared_root: Path, home: Path) -> None:
    with private_engine(shared_root, home) as other:
        command = other.start("up")
        log = other.layout.logs / "bootstrap.log"
        until = time.monotonic() + 60
        while not (log.exists() and "downloading packages" in log.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=30)
        assert command.returncode == 130, err
        assert not other.layout.root.exists()
        assert list(other.layout.dir.glob("new-*")) == []


def test_down_stops_only_its_own_and_keeps_the_data(private: Private, engine: Connection) -> None:
    record = read_record(private.layout)
    assert record is not None
    assert "is down" in private("down")[0]
    assert not any(daemon.alive for daemon in (record.dockerd, record.registry) if daemon)
    assert process.find_by_argument(str(private.layout.run), frozenset({"containerd", "dockerd"})) == []
    assert process.ask([engine.docker, "version"], env=engine.environment()).ok
    assert "was not up" in private("down")[0]
    _, err = private("env", code=3)
    assert "ohbuild engine up" in " ".join(err.split())
    private("up")
    assert "kept" in private.docker("volume", "ls", "--quiet")
    # the registry still has the seeded images
    assert json.loads(private("status", "--json")[0])["private"]["seeded"]


def test_the_alpine_of_the_tests_is_a_real_one(tmp_path: Path) -> None:
    if host_architecture() != "amd64":
        pytest.skip("the package has Alpine for amd64 only")
    tar = tmp_path / "alpine.tar"
    env = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(["sh", str(_HERE / "alpine-rootfs.sh"), str(tar)], check=True, env=env)
    said = subprocess.run(
        ["tar", "--extract", "--to-stdout", "--file", tar, "./usr/lib/os-release"], check=True, capture_output=True
    )
    assert b"VERSION_ID=3.23" in said.stdout
    names = subprocess.run(["tar", "--list", "--file", tar], check=True, capture_output=True, text=True).stdout
    assert "./lib/ld-musl-x86_64.so.1" in names.split()
    assert not {"./bin/bash", "./sbin/openrc", "./usr/bin/curl"} & set(names.split())
