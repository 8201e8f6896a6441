"""Auditing images: layers, caches and output. The images are created by the tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.audit import cache as layer_cache
from ohbuild.audit.image import Audited, Memory, Verdict, audit
from ohbuild.audit.layers import Layer, layer_of
from ohbuild.audit.sources import DockerSource, RegistrySource
from ohbuild.cli.audit import show
from ohbuild.cli.main import main
from ohbuild.docker.connection import Connection
from ohbuild.errors import PlatformMissing, RegistryError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.relocate.audit import Finding
from ohbuild.relocate.elf import Elf
from ohbuild.relocate.entries import Content, Entry
from tests import elf
from tests.layers import COMPRESS, Item, archive, digest, file, folder, gone, link, opaque

IMAGE = ImageRef.parse("a.b/c:1")
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
LOADER = "/openhands/lib/ld-linux-x86-64.so.2"


class Made:
    """A source of the given layers that records which of them are read."""

    def __init__(self, *layers: Sequence[Item], platforms: tuple[Platform, ...] = (AMD64,)) -> None:
        self.blobs = {digest(blob): blob for blob in map(archive, layers)}
        self.platforms = platforms
        self.read: list[str] = []

    def digests(self, platform: Platform) -> tuple[str, ...]:
        return tuple(self.blobs)

    def layer(self, wanted: str) -> Layer:
        self.read.append(wanted)
        return layer_of([self.blobs[wanted]], wanted)

    def audit(self, memory: Memory | None = None, platform: Platform = AMD64) -> Audited:
        return audit(self, IMAGE, platform, memory=memory or Memory(on_disk=False))


@pytest.fixture
def whole(tmp_path: Path) -> list[Item]:
    """A layer without findings: a loader, a library, and a program that needs it."""
    loader = elf.write(tmp_path / "loader").read_bytes()
    library = elf.write(tmp_path / "library", rpath="/openhands/lib").read_bytes()
    program = elf.write(tmp_path / "program", interpreter=LOADER, needed=["libfoo.so.1"]).read_bytes()
    return [
        folder("openhands"),
        file("openhands/lib/ld-linux-x86-64.so.2", loader, 0o755),
        file("openhands/lib/libfoo.so.1", library),
        file("openhands/bin/tool", program, 0o755),
        file("openhands/bin/script", "#!/openhands/bin/tool\n", 0o755),
    ]


def found(audited: Audited) -> list[str]:
    return [f"{finding.file}: {finding.problem}" for finding in audited.findings]


def test_an_image_without_a_fault(whole: list[Item]) -> None:
    audited = Made([file("etc/passwd")], whole).audit()
    assert audited.findings == ()
    assert (audited.verdict.files, audited.verdict.elf_files) == (4, 3)
    assert audited.verdict.size == sum(len(item.data) for item in whole)


def test_a_removed_library_is_named_with_who_needs_it(whole: list[Item]) -> None:
    audited = Made(whole, [gone("openhands/lib/libfoo.so.1")]).audit()
    assert found(audited) == ["/openhands/bin/tool: libfoo.so.1 is not below /openhands"]


def test_faults_that_only_a_layer_can_have(whole: list[Item]) -> None:
    audited = Made(
        whole,
        [
            Item(name="openhands/cap", mode=0o755, pax=(("SCHILY.xattr.security.capability", "x"),)),
            file("openhands/theirs", uid=1000),
            Item(name="openhands/passwd", kind=b"1", link="etc/passwd"),
            link("openhands/link", "/etc/passwd"),
        ],
    ).audit()
    assert found(audited) == [
        "/openhands/cap: has file capabilities",
        "/openhands/link: symlink target /etc/passwd is outside /openhands",
        "/openhands/passwd: hard link target /etc/passwd is outside /openhands",
        "/openhands/theirs: is owned by 1000:0, not by root",
    ]


def test_an_image_without_openhands_has_not_passed() -> None:
    assert found(Made([file("etc/passwd")]).audit()) == ["/openhands: is not in this image"]
    assert found(Made([file("openhands/x")], [gone("openhands")]).audit()) == ["/openhands: is not in this image"]


def test_a_bases_own_openhands_counts(whole: list[Item]) -> None:
    assert found(Made([file("openhands/old", mode=0o666)], whole).audit()) == ["/openhands/old: is world-writable"]


def test_what_an_opaque_layer_hides_is_not_even_fetched(whole: list[Item]) -> None:
    made = Made([file("openhands/old", mode=0o666)], [*whole, opaque("openhands")], [file("openhands/last")])
    audited = made.audit()
    assert audited.findings == ()
    assert made.read == list(made.blobs)[:0:-1]
    assert audited.layers == tuple(made.blobs)[1:]


def test_other_platforms(whole: list[Item]) -> None:
    made = Made(whole, platforms=(AMD64, ARM64))
    assert found(made.audit(platform=ARM64))[0] == "/openhands/bin/tool: is for EM_X86_64, not for arm64"
    with pytest.raises(PlatformMissing, match="has no image for linux/s390x; available: linux/amd64, linux/arm64"):
        made.audit(platform=Platform.parse("linux/s390x"))


def test_layers_are_read_once_and_judged_once(whole: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(on_disk=False)
    first = Made([file("etc/debian")], whole)
    other = Made([file("etc/alpine")], whole)
    verdict = first.audit(memory).verdict
    assert other.audit(memory).verdict is verdict
    assert other.read == [next(iter(other.blobs))]  # only the base: the other layer is already known
    worse = Made(whole, [gone("openhands/lib/libfoo.so.1")])
    assert worse.audit(memory).findings


def test_a_layer_that_cannot_be_read_is_asked_for_again(whole: list[Item]) -> None:
    memory = Memory(on_disk=False)
    made = Made(whole)
    (name,) = made.blobs
    good, made.blobs[name] = made.blobs[name], b"damaged"
    with pytest.raises(RegistryError, match="is damaged"):
        made.audit(memory)
    made.blobs[name] = good
    assert made.audit(memory).findings == ()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/ohbuild/layers"


def test_what_was_read_outlives_the_process(whole: list[Item], cache: Path) -> None:
    hidden = [gone("openhands/x"), opaque("openhands/y"), link("openhands/l", "bin"), *whole]
    first, second = Made(hidden), Made(hidden)
    verdict = first.audit(Memory()).verdict
    assert second.audit(Memory()).verdict == verdict
    assert (len(first.read), second.read) == (1, [])
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_kept_layer_that_was_meddled_with_is_read_anew(whole: list[Item], cache: Path) -> None:
    made = Made(whole)
    made.audit(Memory())
    for rubbish in (b"", b"rubbish", os.urandom(200)):
        (kept,) = cache.iterdir()
        kept.write_bytes(rubbish)
        made.read.clear()
        assert made.audit(Memory()).findings == ()
        assert len(made.read) == 1


def test_only_the_layers_last_used_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_cache, "_KEPT", 3)
    for number in range(5):
        layer_cache.save(f"sha256:{number}", Layer())
        for path in cache.glob(f"sha256-{number}-*"):
            os.utime(path, (number + 1, number + 1))
    layer_cache.load("sha256:2")
    layer_cache.save("sha256:5", Layer())
    assert sorted(path.name[:8] for path in cache.iterdir()) == ["sha256-2", "sha256-4", "sha256-5"]


def test_a_home_that_cannot_be_written_is_no_obstacle(
    whole: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Made(whole).audit(Memory()).findings == ()


TEXT = st.text(st.characters(codec=None, exclude_characters="\0"), max_size=5)
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
ELVES = st.builds(
    Elf, path=st.just(Path("x")), machine=TEXT, interpreter=st.none() | TEXT, needed=TEXTS, rpath=TEXTS, runpath=TEXTS,
    executable_stack=st.booleans(), dynamic=st.booleans(),
)  # fmt: skip
CONTENTS = st.builds(
    Content, elf=st.none() | ELVES, broken=st.booleans(), foreign=TEXT, script=TEXT, program=TEXT, paths=TEXTS
)
ENTRIES = st.builds(
    Entry, kind=st.sampled_from(["folder", "file", "link", "hard link", "device"]), mode=st.integers(0, 0o7777),
    owner=st.none() | st.tuples(st.integers(0), st.integers(0)), target=TEXT, capabilities=st.booleans(),
    size=st.integers(0), content=st.none() | CONTENTS,
)  # fmt: skip
LAYERS = st.builds(
    Layer, entries=st.lists(st.tuples(TEXT, ENTRIES), max_size=3).map(tuple), hidden=st.frozensets(TEXT, max_size=2),
    opaque=st.frozensets(TEXT, max_size=2),
)  # fmt: skip


@given(LAYERS)
def test_a_kept_layer_is_the_same(layer: Layer) -> None:
    assert layer_cache.decode(layer_cache.encode(layer)) == layer


def served(blobs: Sequence[bytes], refuse: Callable[[httpx.Request], httpx.Response | None]) -> httpx.MockTransport:
    """A registry with one image for amd64 that consists of these layers."""
    config = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"digest": digest(config), "size": len(config)},
            "layers": [{"digest": digest(blob), "size": len(blob)} for blob in blobs],
        }
    ).encode()
    known = {digest(blob): blob for blob in (config, manifest, *blobs)}

    def answer(request: httpx.Request) -> httpx.Response:
        refusal = refuse(request)
        if refusal is not None:
            return refusal
        name = request.url.path.rpartition("/")[2]
        data = known.get(name, manifest)
        # Split layers into chunks, as a network does.
        pieces = (data[at : at + 1000] for at in range(0, len(data), 1000))
        return httpx.Response(200, content=pieces, headers={"docker-content-digest": digest(manifest)})

    return httpx.MockTransport(answer)


@pytest.mark.parametrize("kind", COMPRESS)
def test_layers_come_out_of_a_registry(whole: list[Item], kind: str) -> None:
    transport = served([COMPRESS[kind](archive(whole))], lambda request: None)
    source = RegistrySource(Registry(transport=transport), IMAGE)
    assert source.platforms == (AMD64,)
    assert audit(source, IMAGE, AMD64, memory=Memory(on_disk=False)).verdict.files == 4


def test_a_registry_that_refuses_a_layer(whole: list[Item]) -> None:
    blob = archive(whole)

    def refuse(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(404) if digest(blob) in request.url.path else None

    source = RegistrySource(Registry(transport=served([blob], refuse)), IMAGE)
    with pytest.raises(RegistryError, match=r"registry a\.b returned 404 for blob sha256"):
        source.layer(digest(blob))


def test_a_registry_that_stops_within_a_layer(whole: list[Item]) -> None:
    blob = archive(whole)

    class Cut(httpx.SyncByteStream):
        def __iter__(self) -> object:  # type: ignore[override]
            yield blob[:2000]
            raise httpx.ReadError("connection reset")

    def cut(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, stream=Cut()) if digest(blob) in request.url.path else None

    source = RegistrySource(Registry(transport=served([blob], cut)), IMAGE)
    with pytest.raises(RegistryError, match=r"reading blob sha256:.* failed \(connection reset\)"):
        source.layer(digest(blob))


def test_a_layer_may_take_longer_than_a_token_lives(whole: list[Item]) -> None:
    blob = archive(whole)
    tokens: list[int] = []

    def guard(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/token":
            tokens.append(len(tokens))
            return httpx.Response(200, json={"token": f"t{tokens[-1]}"})
        if request.headers.get("authorization") != f"Bearer t{len(tokens) - 1}":
            return httpx.Response(401, headers={"www-authenticate": 'Bearer realm="https://a.b/token"'})
        return None

    source = RegistrySource(Registry(transport=served([blob], guard)), IMAGE)
    tokens.append(len(tokens))  # the current token has expired
    assert source.layer(digest(blob)).entries


def docker(folder: Path, script: str) -> Connection:
    """A docker client that runs a shell script."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Connection(docker=program, host=None, config_dir=None, registry=None, origin="system")


def layout(*images: tuple[str, Sequence[bytes]], without: str = "") -> bytes:
    """An OCI image layout as written by `docker image save` for a multi-platform image."""
    blobs: dict[str, bytes] = {}

    def add(data: bytes) -> str:
        blobs[digest(data)] = data
        return digest(data)

    manifests = []
    for architecture, layers in images:
        system = "unknown" if architecture == "unknown" else "linux"
        config = add(json.dumps({"os": system, "architecture": architecture}).encode())
        names = [{"digest": add(layer)} for layer in layers]
        manifests.append({"digest": add(json.dumps({"config": {"digest": config}, "layers": names}).encode())})
    index = add(json.dumps({"manifests": manifests}).encode())
    items = [
        file("index.json", json.dumps({"manifests": [{"digest": index}]})),
        folder("blobs"),
        *(file(f"blobs/{name.replace(':', '/')}", data) for name, data in blobs.items() if name != without),
    ]
    return archive(items)


def test_layers_come_out_of_the_local_docker(whole: list[Item], tmp_path: Path) -> None:
    blob, missing = COMPRESS["gzip"](archive(whole)), archive([file("openhands/x")])
    images = [("amd64", [blob]), ("arm64", [missing]), ("unknown", [])]
    (tmp_path / "saved").write_bytes(layout(*images, without=digest(missing)))
    source = DockerSource(docker(tmp_path, f'test "$*" = "image save a.b/c:1" && cat {tmp_path}/saved'), IMAGE)
    assert source.platforms == (AMD64,)
    assert audit(source, IMAGE, AMD64, memory=Memory(on_disk=False)).verdict.files == 4


def test_a_damaged_layer_of_the_local_docker(whole: list[Item], tmp_path: Path) -> None:
    blob = archive(whole)
    (tmp_path / "saved").write_bytes(layout(("amd64", [blob])).replace(b"#!/openhands", b"#!/penhandso"))
    source = DockerSource(docker(tmp_path, f"cat {tmp_path}/saved"), IMAGE)
    with pytest.raises(RegistryError, match="is damaged"):
        source.layer(digest(blob))


@pytest.mark.parametrize("script", ["echo No such image >&2; exit 1", "echo '<html>'; echo No such image >&2"])
def test_a_docker_that_does_not_save(tmp_path: Path, script: str) -> None:
    with pytest.raises(Exception, match="No such image"):
        DockerSource(docker(tmp_path, script), IMAGE)


def test_a_docker_that_fails_after_the_archive_or_warns_at_length(whole: list[Item], tmp_path: Path) -> None:
    (tmp_path / "saved").write_bytes(layout(("amd64", [archive(whole)])))
    warnings = "head --bytes=200000 /dev/zero | tr '\\0' w >&2"  # more than a pipe holds
    assert DockerSource(docker(tmp_path, f"{warnings}; cat {tmp_path}/saved"), IMAGE).platforms == (AMD64,)
    with pytest.raises(RegistryError, match="failed: it was pruned"):
        DockerSource(docker(tmp_path, f"cat {tmp_path}/saved; echo it was pruned >&2; exit 1"), IMAGE)


def test_an_old_docker_is_told(tmp_path: Path) -> None:
    (tmp_path / "saved").write_bytes(archive([file("manifest.json", "[]"), file("abc/layer.tar")]))
    with pytest.raises(RegistryError, match="did not write an OCI image layout"):
        DockerSource(docker(tmp_path, f"cat {tmp_path}/saved"), IMAGE)


def audited(image: str, platform: Platform, *problems: tuple[str, str]) -> Audited:
    verdict = Verdict(
        findings=tuple(Finding(*each) for each in problems), files=41_567, elf_files=749, size=1_508_106_613
    )
    return Audited(image=ImageRef.parse(image), platform=platform, layers=(), verdict=verdict)


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    everywhere, once = ("/openhands/bin/[a]", "is world-writable"), ("/openhands/b", "is a broken ELF file")
    show([audited("a.b/c:1", AMD64, everywhere, once), audited("a.b/c:1", ARM64, everywhere)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["image", "platform", "files", "ELF", "files", "size", "findings"],
        ["a.b/c:1", "linux/amd64", "41,567", "749", "1.5", "GB", "2"],
        ["a.b/c:1", "linux/arm64", "41,567", "749", "1.5", "GB", "1"],
    ]
    assert lines[3:] == [
        "/openhands/bin/[a]: is world-writable",
        "/openhands/b: is a broken ELF file (only a.b/c:1 linux/amd64)",
    ]


@pytest.mark.parametrize("arguments", [[], ["UPPER"], ["a.b/c", "--platform", "linux/none"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["audit", *arguments])
    assert stop.value.code == 2
