"""The rules of the closure audit, on synthetic trees in a folder."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ohbuild.relocate.audit import component_findings, findings
from ohbuild.relocate.elf import parse
from ohbuild.relocate.entries import Entry, content, foreign, read_folder
from ohbuild.relocate.links import LOOP, NOWHERE, OUTSIDE, follow
from tests import elf

LOADER = "/openhands/lib/ld-linux-x86-64.so.2"
FOLDER, FILE = Entry(kind="folder"), Entry(kind="file", mode=0o644)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A valid tree: a loader, a library, a program, a script."""
    tree = tmp_path / "openhands"
    elf.write(tree / "lib/ld-linux-x86-64.so.2")
    elf.write(tree / "lib/libfoo.so.1", rpath="/openhands/lib")
    elf.write(tree / "bin/tool", interpreter=LOADER, needed=["libfoo.so.1"], rpath="/openhands/lib")
    write(tree / "bin/script", "#!/openhands/bin/tool -x\n", 0o755)
    return tree


def write(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)


def problems(tree: Path, *provided: Path, arch: str = "amd64") -> list[tuple[str, str]]:
    found = list(component_findings(tree, provided, arch))
    return [(finding.file.removeprefix("/openhands/"), finding.problem) for finding in found]


def test_a_tree_without_a_fault(tree: Path) -> None:
    assert problems(tree) == []


@pytest.mark.parametrize(
    ("first", "mode", "problem"),
    [
        ("#!/bin/sh", 0o755, "interpreter /bin/sh is outside /openhands"),
        ("#! /usr/bin/env node", 0o755, "interpreter /usr/bin/env is outside /openhands"),
        ("#!/openhands/../bin/sh", 0o755, "interpreter /openhands/../bin/sh is outside /openhands"),
        ("#!sh", 0o755, "interpreter sh is outside /openhands"),
        ("#!/openhands/bin/gone", 0o755, "interpreter /openhands/bin/gone does not exist"),
        ("#!/openhands/lib/data", 0o755, "interpreter /openhands/lib/data is not executable"),
        ("#!/bin/sh", 0o644, None),
        ("#!/openhands/bin/tool\t-x", 0o755, None),
        ("#!  /openhands/lib/../bin/tool", 0o755, None),
        ("echo no shebang", 0o755, None),
    ],
)
def test_what_runs_a_script(tree: Path, first: str, mode: int, problem: str | None) -> None:
    write(tree / "lib/data", "x")
    write(tree / "script", first + "\n", mode)
    assert problems(tree) == ([("script", problem)] if problem else [])


def test_the_interpreter_may_be_of_a_required_component(tree: Path, tmp_path: Path) -> None:
    write(tmp_path / "core/libexec/busybox", "x", 0o755)
    write(tree / "bin/wrapper", "#!/openhands/libexec/busybox sh\n", 0o755)
    assert problems(tree, tmp_path / "core") == []
    assert len(problems(tree)) == 1


def test_faults_of_a_required_component_are_its_own(tree: Path, tmp_path: Path) -> None:
    write(tmp_path / "core/bin/wrapper", "#!/bin/sh\n", 0o777)
    assert problems(tree, tmp_path / "core") == []


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("tool", None),
        ("/openhands/bin/tool", None),
        ("../../openhands/bin/tool", None),
        ("../lib/..", None),
        ("/usr/bin/env", OUTSIDE),
        ("../../etc/passwd", OUTSIDE),
        ("../..", OUTSIDE),
        ("/openhands/nothing", NOWHERE),
        ("gone", NOWHERE),
        ("tool/x", NOWHERE),
        ("link", LOOP),
        ("elsewhere/passwd", OUTSIDE),
    ],
)
def test_links(tree: Path, target: str, problem: str | None) -> None:
    (tree / "bin/link").symlink_to(target)
    if target.startswith("elsewhere"):
        (tree / "bin/elsewhere").symlink_to("../../etc")
    found = dict(problems(tree))
    assert found.get("bin/link") == (f"symlink target {target} {problem}" if problem else None)


def test_a_library_is_found_through_links_and_folders_that_are_links(tree: Path) -> None:
    (tree / "lib/libbar.so.1").symlink_to("libfoo.so.1")
    (tree / "alias").symlink_to("lib")
    elf.write(tree / "one.so", needed=["libbar.so.1"])
    elf.write(tree / "two.so", needed=["libfoo.so.1"], runpath="$ORIGIN/alias")
    elf.write(tree / "three.so", needed=["/openhands/alias/libfoo.so.1"])
    assert problems(tree) == []
    (tree / "lib/libfoo.so.1").unlink()
    found = problems(tree)
    assert ("three.so", "/openhands/alias/libfoo.so.1 is not below /openhands") in found
    assert {name for name, problem in found if problem.endswith("is not below /openhands")} == {
        "bin/tool", "one.so", "three.so", "two.so",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["arm64", "text", "folder"])
def test_the_loader_passes_over_what_is_no_library_for_it(tree: Path, kind: str) -> None:
    (tree / "lib/libfoo.so.1").unlink()
    if kind == "arm64":
        elf.write(tree / "lib/libfoo.so.1", arch="arm64")
    elif kind == "text":
        write(tree / "lib/libfoo.so.1", "GROUP ( libfoo.so.2 )")
    else:
        (tree / "lib/libfoo.so.1").mkdir()
    assert ("bin/tool", "libfoo.so.1 is not below /openhands") in problems(tree)


def test_search_paths(tree: Path) -> None:
    elf.write(tree / "relative.so", rpath="lib")
    elf.write(tree / "empty.so", runpath="/openhands/lib:")
    elf.write(tree / "token.so", runpath="$LIB/x")
    elf.write(tree / "absent.so", runpath="$ORIGIN/../openhands/none")
    (tree / "leaving").symlink_to("/usr/lib")
    elf.write(tree / "linked.so", runpath="/openhands/leaving")
    found = [(name, problem) for name, problem in problems(tree) if name.endswith(".so")]
    assert found == [
        ("empty.so", "search path (empty) is outside /openhands"),
        ("linked.so", "search path /openhands/leaving is outside /openhands"),
        ("relative.so", "search path lib is outside /openhands"),
        ("token.so", "search path $LIB/x is outside /openhands"),
    ]


def test_the_interpreter_has_to_be_there_where_a_program_is_run(tree: Path) -> None:
    (tree / "lib/ld-linux-x86-64.so.2").unlink()
    assert problems(tree) == [("bin/tool", f"interpreter {LOADER} does not exist")]
    # A library may have an interpreter too, as libc does.
    elf.write(tree / "bin/tool", interpreter="/lib64/ld-linux-x86-64.so.2", mode=0o644)
    assert [problem for name, problem in problems(tree) if name == "bin/tool"] == []


def test_broken_and_half_elf_files(tree: Path) -> None:
    whole = (tree / "bin/tool").read_bytes()
    write(tree / "cut", whole[:100])
    write(tree / "object.o", whole[:16] + struct.pack("<H", 1) + whole[18:])
    write(tree / "magic", b"\x7fELF")
    assert problems(tree) == [("cut", "is a broken ELF file")]


@given(st.data())
def test_a_damaged_elf_file_never_stops_the_audit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    whole = bytearray(elf.write(path, interpreter=LOADER, needed=["a"], runpath="/x").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    content("damaged", io.BytesIO(bytes(whole)))
    parse(io.BytesIO(bytes(whole)), Path("damaged"))


def test_an_elf_file_that_says_nothing_of_its_stack_gets_an_executable_one(tree: Path) -> None:
    whole = (tree / "lib/libfoo.so.1").read_bytes()
    write(tree / "old.so", whole.replace(struct.pack("<I", elf.PT_GNU_STACK), struct.pack("<I", 0x6FFFFFFF)))
    assert problems(tree) == [("old.so", "requests an executable stack, which newer kernels refuse")]


def pe(dotnet: bool = False, magic: int = 0x20B) -> bytes:
    """The headers of a Windows program: MZ, the offset of PE, and the optional header with 16 data directories."""
    start = {0x20B: 112, 0x10B: 96}[magic]
    optional = struct.pack("<H", magic).ljust(start, b"\0") + b"\0" * 14 * 8 + struct.pack("<II", 8192 * dotnet, 72)
    if not dotnet:
        optional = optional[:-8] + b"\0" * 8
    return b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0".ljust(24, b"\0") + optional


@pytest.mark.parametrize(
    ("head", "system"),
    [
        (b"\xcf\xfa\xed\xfe" + bytes(28), "macOS"),
        (b"\xfe\xed\xfa\xce" + bytes(28), "macOS"),
        (b"\xca\xfe\xba\xbe\0\0\0\x02" + bytes(40), "macOS"),
        (b"\xca\xfe\xba\xbe\0\0\0\x41" + bytes(40), ""),  # a class file of Java 21
        (pe(), "Windows"),
        (pe(magic=0x10B), "Windows"),
        (pe(dotnet=True), ""),
        (pe(dotnet=True, magic=0x10B), ""),
        (b"MZ is how this text begins", ""),
        (b"MZ".ljust(60, b"\0") + b"\xff\xff\xff\xff", ""),
        (b"\0asm\1\0\0\0", ""),
        (b"", ""),
    ],
)
def test_programs_of_other_systems(head: bytes, system: str) -> None:
    assert foreign(head) == system


def test_programs_of_other_systems_are_findings_and_launchers_are_data(tree: Path) -> None:
    site = tree / "python/lib/python3/dist-packages"
    for path in ("x/helper.exe", "setuptools/cli.exe", "pip/_vendor/distlib/t64.exe"):
        write(site / path, pe())
    assert problems(tree) == [("python/lib/python3/dist-packages/x/helper.exe", "is a program for Windows")]


def test_rights(tree: Path) -> None:
    write(tree / "open", "x", 0o666)
    write(tree / "closed", "x", 0o600)
    write(tree / "setgid", "x", 0o2755)
    (tree / "shared").mkdir()
    (tree / "shared").chmod(0o1777)
    (tree / "hidden").mkdir()
    (tree / "hidden").chmod(0o744)
    os.mkfifo(tree / "pipe", 0o644)
    (tree / "pipe").chmod(0o644)
    assert problems(tree) == [
        ("closed", "is not world-readable"),
        ("hidden", "is not world-readable"),
        ("open", "is world-writable"),
        ("pipe", "is not a regular file, folder or symlink"),
        ("setgid", "is setuid or setgid"),
        ("shared", "is world-writable"),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners and set capabilities")
def test_owners_and_capabilities(tree: Path) -> None:
    os.chown(tree / "lib/libfoo.so.1", 1000, 0)
    # vfs_cap_data, revision 2: cap_net_bind_service (linux/capability.h)
    os.setxattr(tree / "bin/tool", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    assert problems(tree) == [
        ("bin/tool", "has file capabilities"),
        ("lib/libfoo.so.1", "is owned by 1000:0, not by root"),
    ]


def test_paths_in_files_of_python(tree: Path) -> None:
    site = tree / "python/lib/python3/dist-packages"
    write(site / "good.pth", "# /usr\nimport os; os.environ\n.\nsub\n/openhands/code\n")
    write(site / "bad.pth", "ok\n/build/src\n")
    write(tree / "weights/model.pth", "/not/a/path\n")
    write(site / "a-1.dist-info/direct_url.json", json.dumps({"url": "file:///build/a%20b", "dir_info": {}}))
    write(site / "b-1.dist-info/direct_url.json", json.dumps({"url": "https://x.org/b.whl"}))
    write(site / "c-1.dist-info/direct_url.json", "{not json")
    write(site / "d.egg-link", "../../../../../src\n.\n")
    write(tree / "venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.13\n")
    write(tree / "venv2/pyvenv.cfg", "home = /usr/bin\nexecutable = /openhands/bin/tool\n")
    write(tree / "share/jupyter/kernels/a/kernel.json", json.dumps({"argv": ["/usr/bin/python3", "-m", "x"]}))
    write(tree / "share/jupyter/kernels/b/kernel.json", json.dumps({"argv": ["python", "-m", "x"]}))
    place = "python/lib/python3/dist-packages"
    assert problems(tree) == [
        (f"{place}/a-1.dist-info/direct_url.json", "refers to /build/a b, which is outside /openhands"),
        (f"{place}/bad.pth", "refers to /build/src, which is outside /openhands"),
        (f"{place}/d.egg-link", "refers to ../../../../../src, which is outside /openhands"),
        ("share/jupyter/kernels/a/kernel.json", "interpreter /usr/bin/python3 is outside /openhands"),
        ("venv/pyvenv.cfg", "interpreter /usr/bin is outside /openhands"),
    ]


def test_names_and_problems_are_shown_on_one_line() -> None:
    tree = {"": FOLDER, "a\nb\udcff": Entry(kind="link", target="\x1b[31m")}
    (finding,) = findings(tree, "amd64")
    assert str(finding) == r"ohbuild audit: /openhands/a\nb\udcff: symlink target \x1b[31m does not exist"


def test_where_paths_lead() -> None:
    tree = {
        "": FOLDER,
        "a": FOLDER,
        "a/file": FILE,
        "in": Entry(kind="link", target="/openhands/a"),
        "out": Entry(kind="link", target="/etc"),
        "around": Entry(kind="link", target="../openhands/in/."),
    }
    assert follow(tree, "/openhands/around/file") == ("a/file", FILE)
    assert follow(tree, "/openhands/in/..") == ("", FOLDER)
    assert follow(tree, "//openhands//") == ("", FOLDER)
    for path, problem in {
        "/openhands/out/passwd": OUTSIDE,
        "/openhandsome": OUTSIDE,
        "/": OUTSIDE,
        "/openhands/..": OUTSIDE,
        "/openhands/a/none": NOWHERE,
        "/openhands/a/file/": NOWHERE,
        "/openhands/a/file/..": NOWHERE,
    }.items():
        assert follow(tree, path) == (problem, None), path


@given(st.lists(st.sampled_from(["a", "b", "c", "l", "..", ".", "openhands"]), max_size=6))
def test_paths_lead_where_the_kernel_takes_them(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    # For the kernel, .. stops at the real root folder, not at this one.
    assume(parts.count("..") < 2)
    root = tmp_path_factory.getbasetemp() / "kernel"
    if not root.exists():
        (root / "openhands/a/b").mkdir(parents=True)
        (root / "openhands/a/c").write_text("x")
        (root / "openhands/b").symlink_to("a/b")
        (root / "openhands/c").symlink_to("../openhands/l")
        (root / "openhands/l").symlink_to("a")
        (root / "openhands/a/l").symlink_to("../b/..")
    tree = read_folder(root / "openhands")
    path = "/openhands/" + "/".join(parts)
    place, found = follow(tree, path)
    real = Path(f"{root}{path}").resolve()
    exists = os.path.exists(f"{root}{path}")  # noqa: PTH110 — Path would drop the dots
    if found is not None:
        assert exists
        assert real == root / "openhands" / place
    else:
        assert not exists or (place == OUTSIDE and not real.is_relative_to(root / "openhands"))
