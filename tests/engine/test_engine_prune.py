"""`ohbuild engine prune`: what no tag needs goes, what a tag needs stays, and the figures are true."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ohbuild.docker.client import LABEL
from ohbuild.engine import http
from ohbuild.engine.bootstrap import host_architecture
from ohbuild.engine.state import read_record
from ohbuild.images.manifests import ACCEPT
from tests.engine.private import Private
from tests.engine.pushed import Pushed, Registry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have the private engine")
PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture
def registry(private: Private) -> Iterator[Registry]:
    with closing(Registry(f"localhost:{private.layout.port}")) as opened:
        yield opened


def status_of(private: Private, path: str) -> int:
    reply = http.get(private.layout.port, f"/v2/{path}", accept=ACCEPT)
    assert reply is not None
    return reply.status


def pulls(private: Private, image: Pushed, repository: str) -> None:
    """Checks that a new client could pull every platform of a tag."""
    found = http.platforms_of(private.layout.port, repository, "1")
    assert sorted(found) == sorted(PLATFORMS)
    assert sorted(found.values()) == sorted(image.manifests)
    for kind, digests in (("manifests", image.manifests), ("blobs", image.configs + image.layers)):
        for digest in digests:
            assert status_of(private, f"{repository}/{kind}/{digest}") == 200


def test_an_overwritten_tag_of_two_platforms(private: Private, registry: Registry) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    ballast = os.urandom(3_000_000).hex()
    old = registry.image(f"{name}:1", files={"ballast": ballast})
    new = registry.image(f"{name}:1", {"Env": ["NEW=1"]}, files={"etc/new": "new"})
    other = registry.image(f"{name}-other:1")
    before = read_record(private.layout)
    said = json.loads(private("prune", "--yes", "--json")[0])
    assert said["manifests"] >= 3  # the index and its two platforms
    assert said["freed"]["registry"] >= 12_000_000
    assert said["freed"]["total"] == said["freed"]["docker"] + said["freed"]["registry"]
    assert said["free"] > 0
    pulls(private, new, name)
    pulls(private, other, f"{name}-other")
    for digest in old.manifests:
        assert status_of(private, f"{name}/manifests/{digest}") == 404
    for digest in set(old.configs + old.layers) - set(new.configs + new.layers):
        assert status_of(private, f"{name}/blobs/{digest}") == 404
    # the registry is running again, and dockerd was left alone
    after = read_record(private.layout)
    assert before is not None
    assert after is not None
    assert after.dockerd == before.dockerd
    # Docker pulls both platforms
    for platform in PLATFORMS:
        private.docker("pull", "--quiet", "--platform", platform, f"localhost:{private.layout.port}/{name}:1")
    # the same content can be pushed again
    again = registry.image(f"{name}:1", files={"ballast": ballast})
    assert again.manifests == old.manifests
    pulls(private, again, name)


def test_a_second_prune_finds_nothing(private: Private) -> None:
    private("prune", "--yes")
    assert json.loads(private("prune", "--yes", "--json")[0])["manifests"] == 0
    out, err = private("prune", "--force")
    assert out.startswith("freed 0 bytes: docker 0 bytes, registry 0 bytes; ")
    assert "0 manifests" in err


def test_images_cache_and_containers(private: Private, rootfs: Path, tmp_path: Path) -> None:
    private("seed", "org/tiny:1", "--from", rootfs)
    (tmp_path / "ballast").write_bytes(os.urandom(5_000_000))
    (tmp_path / "Dockerfile").write_text("FROM org/tiny:1\nARG N\nCOPY ballast /ballast-$N\n")
    for number in "12":
        words = ("--load", "--tag", "local:1", "--build-arg", f"N={number}", str(tmp_path))
        private.docker("buildx", "build", "--quiet", "--provenance=false", *words)
    mine = private.docker("run", "--detach", "--label", "mine=1", "org/tiny:1", "/bin/echo", "kept")
    ours = private.docker("run", "--detach", "--label", f"{LABEL}=x", "org/tiny:1", "/bin/echo", "young")
    state = json.loads(private("status", "--json")[0])["private"]
    assert state["stored"]["build_cache"] > 4_000_000
    assert state["stored"]["images"] > 4_000_000
    assert state["free"] > 0
    assert "build cache" in private("status")[0]
    assert json.loads(private("prune", "--yes", "--json")[0])["freed"]["docker"] > 4_000_000
    stored = json.loads(private("status", "--json")[0])["private"]["stored"]
    assert stored["build_cache"] < state["stored"]["build_cache"]
    # a tag's image stays and can be run, and so do the user's containers
    run = ("run", "--rm", "--platform", f"linux/{host_architecture()}", "local:1", "/bin/echo", "here")
    assert private.docker(*run) == "here"
    left = private.docker("ps", "--all", "--quiet", "--no-trunc").split()
    assert mine in left
    assert ours in left, "a `verify` that is running now has containers too"
    private.docker("rm", mine, ours)


def test_the_registry_is_pruned_while_the_engine_is_down(private: Private, registry: Registry) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    old = registry.image(f"{name}:1", files={"a": "1"})
    new = registry.image(f"{name}:1", files={"a": "2"})
    private("down")
    said = json.loads(private("prune", "--yes", "--json")[0])
    assert said["manifests"] == 3
    assert json.loads(private("status", "--json")[0])["private"]["up"] is False
    private("up")
    pulls(private, new, name)
    assert status_of(private, f"{name}/manifests/{old.manifests[0]}") == 404


def test_prune_is_refused_without_a_terminal_or_an_engine(private: Private, tmp_path: Path) -> None:
    _, err = private("prune", code=2)
    assert "--yes" in err
    private.env["OHBUILD_ENGINE_DIR"] = str(tmp_path)
    try:
        _, err = private("prune", "--yes", code=2)
        assert "there is no ohbuild engine" in " ".join(err.split())
    finally:
        private.env["OHBUILD_ENGINE_DIR"] = str(private.layout.dir)
