"""Merging layers into what a container would see below /openhands. The archives are created by the tests."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from ohbuild.audit.layers import Layer, layer_of, merge
from ohbuild.errors import RegistryError
from ohbuild.relocate.entries import Entry
from tests import elf
from tests.layers import COMPRESS, Item, archive, digest, file, folder, gone, hard, link, opaque

BASE = [
    folder("openhands"),
    folder("openhands/lib"),
    file("openhands/lib/a", "a"),
    file("openhands/lib/b", "bb"),
    file("openhands/top", "top"),
    file("usr/bin/env", "env"),
]


def layer(items: Sequence[Item]) -> Layer:
    blob = archive(items)
    return layer_of([blob], digest(blob))


def seen(*layers: Sequence[Item]) -> dict[str, str]:
    """Returns the kind of each path: the target of a link, the size of a file."""
    return {name: shown(entry) for name, entry in merge(map(layer, layers)).items()}


def shown(entry: Entry) -> str:
    if entry.kind == "file":
        return str(entry.size)
    return f"-> {entry.target}" if entry.target else entry.kind


WHOLE = {"": "folder", "lib": "folder", "lib/a": "1", "lib/b": "2", "top": "3"}


def test_only_what_is_below_the_prefix_is_seen() -> None:
    assert seen(BASE) == WHOLE
    assert seen([file("openhandsome/x"), file("opt/openhands/x"), link("open", "openhands")]) == {}


@pytest.mark.parametrize("spelling", ["{}", "./{}", "/{}", "./x/../{}"])
def test_names_are_spelt_in_several_ways(spelling: str) -> None:
    assert seen([Item(name=spelling.format(item.name), data=item.data, kind=item.kind) for item in BASE]) == WHOLE


def test_folders_that_an_archive_leaves_out_are_made() -> None:
    assert seen([file("openhands/a/b/c")]) == {"": "folder", "a": "folder", "a/b": "folder", "a/b/c": "0"}


@pytest.mark.parametrize(
    ("items", "hidden"),
    [
        ([gone("openhands/lib/a")], {"lib/a"}),
        ([gone("openhands/lib")], {"lib", "lib/a", "lib/b"}),
        ([opaque("openhands/lib")], {"lib/a", "lib/b"}),
        ([opaque("openhands")], set(WHOLE)),
        ([gone("openhands")], set(WHOLE)),
        ([opaque(".")], set(WHOLE)),
        ([gone("openhands/none")], set()),
        ([gone("openhands/li")], set()),
        ([gone("usr")], set()),
        ([opaque("usr")], set()),
        # AUFS's metadata files are not whiteouts.
        ([file("openhands/.wh..wh.plnk"), file("openhands/.wh..wh.aufs")], set()),
    ],
)
def test_whiteouts(items: list[Item], hidden: set[str]) -> None:
    assert seen(BASE, items) == {name: kind for name, kind in WHOLE.items() if name not in hidden}


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_is_about_the_layers_below_wherever_it_stands(first: bool) -> None:
    marks = [opaque("openhands"), gone("openhands/own")]
    own = [folder("openhands"), file("openhands/own", "own")]
    assert seen(BASE, [*marks, *own] if first else [*own, *marks]) == {"": "folder", "own": "3"}
    assert layer([*own, *marks]).hides_all
    assert not layer([*own, opaque("openhands/lib")]).hides_all


def test_what_was_hidden_may_come_again() -> None:
    assert seen(BASE, [gone("openhands/lib")], [file("openhands/lib/a", "again")])["lib/a"] == "5"
    assert "lib/b" not in seen(BASE, [gone("openhands/lib")], [file("openhands/lib/a", "again")])


def test_later_layers_and_later_entries_win() -> None:
    assert seen(BASE, [file("openhands/top", "x")], [file("openhands/top", "yy"), file("openhands/top", "zzzz")]) == {
        **WHOLE, "top": "4",
    }  # fmt: skip


def test_a_folder_that_a_link_replaces_takes_all_along() -> None:
    assert seen(BASE, [link("openhands/lib", "/usr/lib")]) == {"": "folder", "lib": "-> /usr/lib", "top": "3"}
    assert seen(BASE, [file("openhands/lib")]) == {"": "folder", "lib": "0", "top": "3"}


def test_a_folder_that_replaces_a_link_or_a_file_is_empty() -> None:
    below = [*BASE, link("openhands/other", "lib")]
    assert seen(below, [folder("openhands/other"), file("openhands/other/x")]) == {
        **WHOLE, "other": "folder", "other/x": "0",
    }  # fmt: skip
    assert seen(BASE, [folder("openhands/top")])["top"] == "folder"


def test_a_folder_again_keeps_what_is_in_it_and_gets_its_mode() -> None:
    tree = merge([layer(BASE), layer([folder("openhands/lib", mode=0o777)])])
    assert tree["lib"].mode == 0o777
    assert "lib/a" in tree


def test_entries_below_a_link_go_where_it_leads() -> None:
    links = [link("openhands/rel", "lib"), link("openhands/abs", "/openhands/lib"), link("openhands/out", "/usr/lib")]
    more = [file("openhands/rel/c"), file("openhands/abs/d"), file("openhands/out/e"), gone("openhands/rel/a")]
    found = seen(BASE, links, more)
    assert {name for name in found if "/" in name} == {"lib/b", "lib/c", "lib/d"}
    assert {name for name in seen(BASE, links, [opaque("openhands/rel")]) if "/" in name} == set()
    assert {name for name in seen(BASE, links, [opaque("openhands/out")]) if "/" in name} == {"lib/a", "lib/b"}


def test_a_prefix_that_is_a_link_is_seen_as_one() -> None:
    assert seen([link("openhands", "data"), file("openhands/x")]) == {"": "-> data"}
    assert seen([link("openhands", "data")], BASE) == WHOLE


def test_hard_links() -> None:
    found = seen(
        BASE,
        [
            file("openhands/new", "four"),
            hard("openhands/same", "openhands/new"),
            hard("openhands/below", "./openhands/lib/b"),
            hard("openhands/base", "usr/bin/env"),
            hard("openhands/none", "openhands/gone"),
        ],
    )
    assert {name: found[name] for name in ("same", "below", "base", "none")} == {
        "same": "4", "below": "2", "base": "-> /usr/bin/env", "none": "-> /openhands/gone",
    }  # fmt: skip


def test_a_hard_link_keeps_its_content_when_the_other_name_goes() -> None:
    assert seen(BASE, [hard("openhands/c", "openhands/lib/b")], [gone("openhands/lib")])["c"] == "2"


def test_what_an_entry_is(tmp_path: Path) -> None:
    program = elf.write(tmp_path / "x", needed=["libfoo.so"]).read_bytes()
    capability = (("SCHILY.xattr.security.capability", "x"),)
    tree = merge(
        [
            layer(
                [
                    Item(name="openhands/cap", mode=0o4755, uid=7, pax=capability),
                    file("openhands/run", "#!/bin/sh\n", 0o755),
                    file("openhands/elf", program),
                    file("openhands/x/site-packages/a.pth", "/usr/x\n"),
                    Item(name="openhands/pipe", kind=tarfile.FIFOTYPE),
                ]
            )
        ]
    )
    assert (tree["cap"].mode, tree["cap"].owner, tree["cap"].capabilities) == (0o4755, (7, 0), True)
    contents = {name: entry.content for name, entry in tree.items() if entry.content}
    assert contents["run"].script == "/bin/sh"
    assert contents["elf"].elf is not None
    assert contents["elf"].elf.needed == ("libfoo.so",)
    assert contents["x/site-packages/a.pth"].paths == ("/usr/x",)
    assert tree["pipe"].kind == "device"


@pytest.mark.parametrize("size", [0, 2 << 20, 20 << 20])
def test_an_elf_file_of_any_length_is_read(tmp_path: Path, size: int) -> None:
    # The largest is spooled to disk while it is read.
    program = elf.write(tmp_path / "x", needed=["libfoo.so"], gap=size).read_bytes()
    found = layer([file("openhands/x", program), file("openhands/y", "#!/z\n")])
    contents = {name: entry.content for name, entry in found.entries}
    assert contents["x"] is not None
    assert contents["x"].elf is not None
    assert contents["x"].elf.needed == ("libfoo.so",)
    assert contents["y"] is not None
    assert contents["y"].script == "/z"


@pytest.mark.parametrize("kind", COMPRESS)
def test_compressions(kind: str) -> None:
    blob = COMPRESS[kind](archive(BASE))
    assert layer_of([blob], digest(blob)) == layer(BASE)
    assert layer_of([blob[i : i + 1] for i in range(len(blob))], digest(blob)) == layer(BASE)
    # Concatenated members or frames form a single stream.
    half = len(archive(BASE)) // 2
    blob = COMPRESS[kind](archive(BASE)[:half]) + COMPRESS[kind](archive(BASE)[half:])
    assert layer_of([blob], digest(blob)) == layer(BASE)


def test_an_empty_layer() -> None:
    blob = COMPRESS["gzip"](bytes(1024))
    assert layer_of([blob], digest(blob)) == Layer()


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
def test_a_damaged_blob_is_told(kind: str, damage: str) -> None:
    blob = COMPRESS[kind](archive([*BASE, file("openhands/x", os.urandom(100_000))]))
    at = len(blob) // 2
    bad = {"cut": blob[:at], "changed": blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], "longer": blob + b"\0"}
    with pytest.raises(RegistryError, match="is damaged"):
        layer_of([bad[damage]], digest(blob))


@pytest.mark.parametrize("blob", [b"", b"{}", b"\x1f\x8bnot gzip", b"\x28\xb5\x2f\xfdnot zstd", b"<html>" * 1000])
def test_what_is_no_layer_is_told(blob: bytes) -> None:
    with pytest.raises(RegistryError, match=r"sha256:.* the layer cannot be read"):
        layer_of([blob], digest(blob))


def test_another_kind_of_digest_is_not_guessed() -> None:
    with pytest.raises(RegistryError, match="unsupported digest algorithm"):
        layer_of([b""], "md5:d41d8cd98f00b204e9800998ecf8427e")


# --- compared with a model: the layers are unpacked into a real folder, one after the other ---

NAMES = ["a", "b", "c", "d"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)


@st.composite
def items(draw: st.DrawFn) -> Item:
    path = "openhands/" + draw(PATHS)
    base = path.rpartition("/")[2]
    kind = draw(st.sampled_from(["file", "folder", "link", "hard", "gone", "opaque"]))
    if kind == "file":
        return file(path, "x" * draw(st.integers(0, 9)))
    if kind == "folder":
        return folder(path)
    if kind == "hard":
        return hard(path, "openhands/" + draw(PATHS))
    if kind == "link":
        # Only to a name that sorts before its own, so that there are no loops.
        targets = [name for name in NAMES if name < base] + ["../a"] * (path.count("/") > 1) + ["a/../b"] * (base > "b")
        return link(path, draw(st.sampled_from(targets or ["0"])))
    return gone(path) if kind == "gone" else opaque(path)


def unpack(root: Path, layer: Sequence[Item]) -> None:
    """Unpacks a layer on top of the previous ones: first its whiteouts, then its entries in order."""
    hidden: list[Path] = []
    for item in layer:
        parent, _, base = item.name.rpartition("/")
        if base == ".wh..wh..opq":
            place = inside(root / parent)
            hidden += place.iterdir() if place.is_dir() and not place.is_symlink() else []
        elif base.startswith(".wh."):
            hidden.append(inside(root / parent) / base.removeprefix(".wh."))
    for path in hidden:
        remove(path)
    for item in layer:
        parent, _, base = item.name.rpartition("/")
        if base.startswith(".wh."):
            continue
        place = inside(root / parent) / base
        for missing in reversed(place.relative_to(root).parents[:-1]):
            if not (root / missing).is_dir():
                remove(root / missing)
                (root / missing).mkdir()
        if item.kind == tarfile.LNKTYPE:
            target = root / item.link
            target = inside(target.parent) / target.name
            if target == place and (place.is_symlink() or place.is_file()):
                continue
            data = target if target.is_symlink() or target.is_file() else None
            kept = None if data is None else (data.readlink() if data.is_symlink() else data.read_bytes())
            remove(place)
            if isinstance(kept, Path):
                place.symlink_to(kept)
            else:
                place.write_bytes(b"dangling hard link" if kept is None else kept)
        elif item.kind == tarfile.DIRTYPE:
            if not place.is_dir() or place.is_symlink():
                remove(place)
                place.mkdir()
        else:
            remove(place)
            if item.kind == tarfile.SYMTYPE:
                place.symlink_to(item.link)
            else:
                place.write_bytes(item.data)


def inside(path: Path) -> Path:
    """Resolves the symlinks in the path of a folder; parts that do not exist are kept."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a hard link to a symlink may create a loop
            reject()
    return path.resolve()


def remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def listing(root: Path) -> Iterator[tuple[str, str]]:
    for path in [root, *root.rglob("*")]:
        name = path.relative_to(root).as_posix().removeprefix(".")
        if path.is_symlink():
            yield name, f"-> {path.readlink()}"
        else:
            yield name, "folder" if path.is_dir() else str(path.stat().st_size)


@given(st.lists(st.lists(items(), max_size=6), min_size=1, max_size=4))
def test_layers_are_laid_over_each_other_as_when_they_are_unpacked(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[Item]]
) -> None:
    root = tmp_path_factory.mktemp("unpacked").resolve()
    try:
        for one in layers:
            (root / "openhands").mkdir(exist_ok=True)
            unpack(root, one)
        found = seen(*([folder("openhands"), *one] for one in layers))
        dangling = {name: "18" for name, kind in found.items() if kind.startswith("-> /openhands/")}
        assert {**found, **dangling} == dict(listing(root / "openhands"))
    finally:
        shutil.rmtree(root)
