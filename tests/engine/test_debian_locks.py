"""Locked Debian packages on a real BuildKit, from our own archive with the layout of snapshot.debian.org."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ohbuild.assets import assets
from ohbuild.docker.connection import Connection
from ohbuild.docker.failures import classify
from ohbuild.docker.progress import Progress
from ohbuild.errors import BuildFailed
from tests.debian_lock import DebianPackage

DATE = "20261101T000000Z"
# Package → version, and the archive that still has it.
PACKAGES = {
    "oh-here": ("1:1.0+a~b-1", "debian/pool/main"),
    "oh-gone": ("2.0-1", f"archive/debian/{DATE}/pool/main"),
    "oh-fixed": ("3.0-1+deb13u1", f"archive/debian-security/{DATE}/pool/updates/main"),
}
MAKE = """\
FROM debian:trixie AS made
RUN {commands}
FROM scratch
COPY --from=made /debs /
"""
USE = """\
FROM debian:trixie AS used
COPY debs lock /opt/
RUN rm -rf /etc/apt/sources.list.d && echo 'deb {url}/debian trixie main' >/etc/apt/sources.list
ARG DEBIAN_SNAPSHOT TARGETARCH COMMAND
RUN /bin/sh -euc "$COMMAND"
FROM scratch
COPY --from=used /out /
"""
FETCH = "/opt/debs fetch /opt/lock /out"

Build = Callable[..., Path]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def buildx(engine: Connection, text: str, out: Path, *options: str) -> None:
    """Builds the text of a Dockerfile into a folder.

    Raises:
        OhbuildError: The build failed.
    """
    words = ["buildx", "build", "--platform=linux/amd64", "--no-cache", "--progress=rawjson", "--network=host"]
    done = subprocess.run(
        [str(engine.docker), *words, f"--output={out}", "--file=-", *options],
        env={**os.environ, **engine.environment()}, input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        progress = Progress(["one"])
        for line in done.stderr.splitlines():
            list(progress.feed(line))
        raise classify(progress)


def deb_commands(name: str, version: str) -> str:
    control = f"Package: {name}\\nVersion: {version}\\nArchitecture: amd64\\nMaintainer: x\\nDescription: x\\n"
    return (
        f"mkdir -p /p/{name}/DEBIAN /p/{name}/opt /debs && echo {name} {version} >/p/{name}/opt/{name} && "
        f"printf '{control}' >/p/{name}/DEBIAN/control && dpkg-deb --build /p/{name} /debs/{name}.deb"
    )


@pytest.fixture(scope="module")
def archive(engine: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[DebianPackage]]]:
    """URL of the archive, and the lock of everything that was ever in it."""
    made, root = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("archive")
    commands = " && ".join(deb_commands(name, version) for name, (version, _) in PACKAGES.items())
    buildx(engine, MAKE.format(commands=commands), made, str(made))
    lock = []
    for name, (version, folder) in PACKAGES.items():
        path = f"{folder}/o/{name}/{name}_{version.rpartition(':')[2]}_amd64.deb"
        (root / path).parent.mkdir(parents=True)
        shutil.copy(made / f"{name}.deb", root / path)
        sha256 = hashlib.sha256((root / path).read_bytes()).hexdigest()
        lock.append(DebianPackage("amd64", name, version, sha256, path[path.index("pool/") :]))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", lock
        server.shutdown()
        thread.join()


@pytest.fixture
def build(engine: Connection, archive: tuple[str, list[DebianPackage]], tmp_path: Path) -> Build:
    """Runs a command in a build that has the script and a lock, and returns the contents of /out."""
    url, everything = archive

    def run(command: str = FETCH, *, snapshot: bool = False, lock: list[DebianPackage] = everything) -> Path:
        context, out = tmp_path / "context", tmp_path / "out"
        context.mkdir()
        shutil.copy(assets() / "dockerfiles" / "apt" / "debs", context)
        foreign = [replace(package, architecture="arm64", sha256="0" * 64) for package in lock]
        (context / "lock").write_text("# a lock\n" + "".join(f"{package}\n" for package in [*lock, *foreign]))
        dated = f"{url}/archive/debian/{DATE}" if snapshot else ""
        arguments = {"COMMAND": command, "DEBIAN_SNAPSHOT": dated}
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        buildx(engine, USE.format(url=url), out, *options, str(context))
        return out

    return run


def test_what_the_archive_no_longer_has_comes_from_the_snapshot(build: Build) -> None:
    out = build(snapshot=True)
    lines = [f"{name} {version}" for name, (version, _) in PACKAGES.items()]
    assert (out / "usr/share/ohbuild/packages").read_text().splitlines() == lines
    assert [(out / "opt" / name).read_text().strip() for name in PACKAGES] == lines


def test_without_a_snapshot_one_error_names_all_that_is_missing(build: Build) -> None:
    with pytest.raises(BuildFailed) as caught:
        build()
    assert caught.value.message == "the archive no longer has oh-gone 2.0-1, oh-fixed 3.0-1+deb13u1"
    assert "`make lock`" in caught.value.hint
    assert "`debian_snapshot`" in caught.value.hint


def test_another_file_than_the_locked_one_is_refused(build: Build, archive: tuple[str, list[DebianPackage]]) -> None:
    with pytest.raises(BuildFailed) as caught:
        build(lock=[replace(archive[1][0], sha256="1" * 64)])
    assert caught.value.message == "packages could not be downloaded: oh-here 1:1.0+a~b-1"
    assert any("Hash Sum mismatch" in line for line in caught.value.log)


def test_the_locked_version_is_installed_over_a_newer_one(build: Build) -> None:
    newer = deb_commands("oh-here", "1:9.0-1")
    command = (
        f"{newer}; dpkg -i /debs/oh-here.deb; {FETCH.replace('fetch', 'install')}; "
        "dpkg-query -W 'oh-*' >/installed; /opt/debs install /opt/lock; "
        "mkdir /out; cp /installed /out"
    )
    out = build(command, snapshot=True)
    installed = dict(line.split("\t") for line in (out / "installed").read_text().splitlines())
    assert installed == {name: version for name, (version, _) in PACKAGES.items()}
