"""Collecting, pinning and auditing, on small synthetic trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.relocate import __main__ as relocate
from ohbuild.relocate import collect, finish, pin
from ohbuild.relocate.audit import component_findings
from ohbuild.relocate.elf import elves, read
from tests import elf

LOADER = "/openhands/lib/ld-linux-x86-64.so.2"


def findings(tree: Path, *provided: Path, arch: str = "amd64") -> list[str]:
    return [str(finding) for finding in component_findings(tree, provided, arch)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A valid tree: a loader, a library, a program."""
    tree = tmp_path / "openhands"
    elf.write(tree / "lib/ld-linux-x86-64.so.2")
    elf.write(tree / "lib/libfoo.so.1", rpath="/openhands/lib")
    elf.write(tree / "bin/tool", interpreter=LOADER, needed=["libfoo.so.1"], rpath="/openhands/lib")
    return tree


def test_reads_what_was_written(tmp_path: Path) -> None:
    path = elf.write(tmp_path / "x", arch="arm64", interpreter="/i", needed=["a", "b"], runpath="/p:$ORIGIN")
    got = read(path)
    assert got is not None
    assert (got.machine, got.interpreter, got.needed) == ("EM_AARCH64", "/i", ("a", "b"))
    assert (got.rpath, got.runpath, got.dynamic, got.executable_stack) == ((), ("/p", "$ORIGIN"), True, False)


@given(st.binary(max_size=200))
def test_rubbish_is_no_elf(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "rubbish"
    path.write_bytes(data)
    assert read(path) is None
    path.write_bytes(b"\x7fELF" + data)
    read(path)  # does not raise, whatever the result


def test_a_whole_tree_has_no_findings(tree: Path) -> None:
    (tree / "bin/link").symlink_to("tool")
    (tree / "bin/absolute").symlink_to("/openhands/bin/tool")
    (tree / "bin/script").write_text("#!/openhands/bin/tool\n")
    (tree / "bin/script").chmod(0o755)
    assert findings(tree) == []


def test_a_missing_library_is_named_with_its_file(tree: Path) -> None:
    (tree / "lib/libfoo.so.1").unlink()
    assert findings(tree) == ["ohbuild audit: /openhands/bin/tool: libfoo.so.1 is not below /openhands"]


def test_a_required_component_may_provide_the_library(tree: Path, tmp_path: Path) -> None:
    core = tmp_path / "core"
    (core / "lib").mkdir(parents=True)
    (tree / "lib/libfoo.so.1").rename(core / "lib/libfoo.so.1")
    assert findings(tree, core) == []


def test_origin_is_the_files_own_folder(tree: Path) -> None:
    elf.write(tree / "python/ext.so", needed=["libown.so"], runpath="$ORIGIN/../wheel.libs")
    assert len(findings(tree)) == 1
    elf.write(tree / "wheel.libs/libown.so")
    assert findings(tree) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"interpreter": "/lib64/ld-linux-x86-64.so.2"}, "interpreter /lib64/ld-linux-x86-64.so.2 is not"),
        ({"rpath": "/usr/lib"}, "search path /usr/lib is outside"),
        ({"runpath": "$ORIGIN/../../usr"}, "search path /usr is outside"),
        ({"arch": "arm64"}, "is for EM_AARCH64, not for amd64"),
        ({"executable_stack": True}, "executable stack"),
        ({"mode": 0o4755}, "setuid"),
        ({"mode": 0o757}, "world-writable"),
    ],
)
def test_each_fault_of_an_elf_file_is_found(tree: Path, change: dict[str, object], problem: str) -> None:
    elf.write(tree / "bin/bad", **change)  # type: ignore[arg-type]
    found = findings(tree)
    assert len(found) == 1
    assert found[0].startswith("ohbuild audit: /openhands/bin/bad: ")
    assert problem in found[0]


@pytest.mark.parametrize("target", ["/usr/bin/env", "../../etc/passwd", "/openhands/nothing", "gone"])
def test_links_that_leave_or_lead_nowhere(tree: Path, target: str) -> None:
    (tree / "bin/link").symlink_to(target)
    assert len(findings(tree)) == 1


def test_the_collector_follows_what_libraries_need(tmp_path: Path) -> None:
    root = tmp_path / "root"
    libs = root / "usr/lib/x86_64-linux-gnu"
    elf.write(libs / "liba.so.1.2", needed=["libb.so", "libc.so.6", "ld-linux-x86-64.so.2"])
    (libs / "liba.so.1").symlink_to("liba.so.1.2")
    elf.write(libs / "nss/libb.so", needed=["liba.so.1"])
    tree = tmp_path / "openhands"
    program = elf.write(tree / "bin/tool", needed=["liba.so.1"])
    copied = collect.libraries(
        collect.Root(root, "amd64"), [program], tree / "lib", frozenset({"libc.so.6", "ld-linux-x86-64.so.2"})
    )
    assert sorted(path.name for path in copied) == ["liba.so.1", "libb.so"]
    assert not (tree / "lib/liba.so.1").is_symlink()


def test_the_collector_names_what_is_missing(tmp_path: Path) -> None:
    program = elf.write(tmp_path / "tool", needed=["libgone.so"])
    with pytest.raises(collect.MissingLibrary, match=r"tool: libgone\.so"):
        collect.libraries(collect.Root(tmp_path, "amd64"), [program], tmp_path / "lib", frozenset())


def test_absolute_links_stay_in_the_root(tmp_path: Path) -> None:
    root = collect.Root(tmp_path, "amd64")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/real").write_text("x")
    (tmp_path / "link").symlink_to("/etc/real")
    assert root.follow(tmp_path / "link") == tmp_path / "etc/real"
    (tmp_path / "loop").symlink_to("loop")
    assert root.follow(tmp_path / "loop") is None


def command(path: Path) -> list[str]:
    got = read(path)
    assert got is not None
    return pin.commands(got, "amd64", "patchelf")


def test_programs_are_pinned(tmp_path: Path) -> None:
    path = elf.write(tmp_path / "x", interpreter="/lib64/ld-linux-x86-64.so.2", runpath="/usr/lib/foo:$ORIGIN/x")
    assert command(path) == [
        "patchelf", "--set-interpreter", LOADER, "--force-rpath", "--set-rpath", "$ORIGIN/x:/openhands/lib", str(path),
    ]  # fmt: skip


def test_what_is_pinned_already_is_left_alone(tmp_path: Path) -> None:
    assert command(elf.write(tmp_path / "x", interpreter=LOADER, rpath="/openhands/lib")) == []


def test_libraries_that_count_on_their_neighbours_get_origin(tmp_path: Path) -> None:
    elf.write(tmp_path / "libb.so")
    assert "$ORIGIN:/openhands/lib" in command(elf.write(tmp_path / "liba.so", needed=["libb.so"]))


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_strings_keep_their_length(arch: str) -> None:
    for name, pairs in pin.strings(arch).items():
        for old, new in pairs:
            assert len(old) == len(new)
            text = new.strip(b"\0").decode()
            if old.startswith(b"\0") and old.strip(b"\0").replace(b"_", b"").isupper():
                # Names of variables that end in PATH: the linker may have merged the string "PATH" into them.
                assert new[1:2] == b"_"
                assert new[2:] == old[2:]
            elif name == "python/bin/python3.13":
                assert b"oh" in new.lower()
            else:
                assert text.startswith("/openhands/") or set(text) == {"/"}


# The loop over LD_* variables as in Debian's glibc 2.41.
LD_LOOPS = {
    "amd64": "4883c208 4885c0 7423 80384c 75ee 80780144 75e8 8078025f 75e2 4883c003",
    "arm64": "208c40f8 a00100b4 02004039 5f300171 81ffff54 02044039 5f100171 21ffff54 02084039 5f7c0171 c1feff54",
}


@pytest.mark.parametrize(
    ("arch", "before", "after"), [("amd64", "80384c", "803801"), ("arm64", "5f300171", "5f040071")]
)
def test_the_loader_knows_no_ld_variable(arch: str, before: str, after: str) -> None:
    loop = bytes.fromhex(LD_LOOPS[arch])
    changed = bytes.fromhex(LD_LOOPS[arch].replace(before, after))
    assert pin.without_ld_variables(b"x" + loop + b"y", arch) == b"x" + changed + b"y"
    for wrong in (b"", loop + loop, changed):
        with pytest.raises(ValueError, match="not once"):
            pin.without_ld_variables(wrong, arch)


def test_a_string_that_is_gone_is_an_error() -> None:
    assert pin.replace(b"a/old\0b", ((b"/old", b"/new"),)) == b"a/new\0b"
    with pytest.raises(ValueError, match="does not occur"):
        pin.replace(b"", ((b"/old", b"/new"),))
    with pytest.raises(ValueError, match="differ in length"):
        pin.replace(b"/old", ((b"/old", b"/newer"),))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("#!/usr/bin/python3.13\nx", "#!/openhands/python/bin/python3.13 -E\nx"),
        ("#!/usr/bin/env python\nx", "#!/openhands/python/bin/python3.13 -E\nx"),
        ("#!/usr/bin/env -S python3 -u\nx", "#!/openhands/python/bin/python3.13 -Eu\nx"),
        ("#! /usr/bin/python3 -sE\nx", "#!/openhands/python/bin/python3.13 -Es\nx"),
        ("#!/openhands/python/bin/python3.13 -E\nx", "#!/openhands/python/bin/python3.13 -E\nx"),
        ("#!/bin/bash -e\nx", "#!/openhands/bin/bash -e\nx"),
        ("#!/bin/sh\nx", "#!/openhands/libexec/sh\nx"),
        ("#!/bin/sh -eu\nx", "#!/openhands/libexec/sh -eu\nx"),
        ("#!/usr/bin/env sh\nx", "#!/openhands/libexec/sh\nx"),
        ("#!/usr/bin/env node\nx", "#!/openhands/node/bin/node\nx"),
        ("#!/usr/bin/perl -w\nx", "#!/usr/bin/perl -w\nx"),
        ("#!/usr/bin/env\nx", "#!/usr/bin/env\nx"),
        ("#!/usr/bin/pythonic\nx", "#!/usr/bin/pythonic\nx"),
    ],
)
def test_shebangs(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / "script").write_text(before)
    (tmp_path / "script").chmod(0o755)
    finish.scripts(tmp_path)
    assert (tmp_path / "script").read_text() == after


def test_finish_makes_modes_and_times_equal(tmp_path: Path) -> None:
    tree = tmp_path / "openhands"
    (tree / "sub").mkdir(parents=True)
    for name, mode in {"sub/data": 0o666, "sub/program": 0o4711, "sub/secret": 0o600}.items():
        (tree / name).write_text(name)
        (tree / name).chmod(mode)
    (tree / "link").symlink_to("sub/data")
    owner = pytest.MonkeyPatch()
    owner.setattr(os, "chown", lambda *args, **kwargs: None)  # only root may
    finish.finish(tree, 1_700_000_000)
    owner.undo()
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tree / "sub").iterdir()}
    assert modes == {"data": 0o644, "program": 0o755, "secret": 0o644}
    for path in [tree, *tree.rglob("*")]:
        assert path.lstat().st_mtime == 1_700_000_000


def test_take_wants_a_match(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nothing matches"):
        relocate.copy(collect.Root(tmp_path, "amd64"), ["usr/bin/gone=bin/"], tmp_path / "out")


def test_take_copies_files_folders_and_what_links_lead_to(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "usr/share/d").mkdir(parents=True)
    (root / "usr/share/d/f").write_text("f")
    (root / "usr/share/l").symlink_to("/usr/share/d/f")
    relocate.copy(collect.Root(root, "amd64"), ["usr/share/*=share/", "usr/share/l=one"], out)
    assert (out / "share/d/f").read_text() == (out / "share/l").read_text() == (out / "one").read_text() == "f"
    assert not list(elves(out))
