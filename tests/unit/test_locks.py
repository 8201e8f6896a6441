"""The locks below ``dockerfiles/``, and their parsers."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.assets import assets
from ohbuild.components.builtin import BUILTIN
from ohbuild.components.lockfiles import debian_version, poetry_version, requirements_version, tarball_version
from ohbuild.components.stages import BUILD_FILES
from tests.debian_lock import DebianPackage, debian_packages

FOLDER = assets() / "dockerfiles"
# Lock → requested packages.
ASKED = {
    path.relative_to(FOLDER).with_suffix(".lock").as_posix(): {
        line for line in path.read_text().splitlines() if not line.startswith("#")
    }
    for path in FOLDER.rglob("*.packages")
}

_small = string.ascii_lowercase + string.digits
_packages = st.builds(
    DebianPackage,
    architecture=st.sampled_from(["amd64", "arm64"]),
    name=st.from_regex(r"\A[a-z0-9][a-z0-9+.-]{1,12}\Z"),
    version=st.from_regex(r"\A([0-9]:)?[0-9][0-9A-Za-z.+~]{0,9}(-[0-9A-Za-z.+~]{1,6}){0,2}\Z"),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    path=st.text(_small + "/+~._-", min_size=1).map("pool/{}.deb".format),
)


@given(packages=st.lists(_packages, max_size=8), comments=st.lists(st.integers(0, 8), max_size=3))
def test_a_lock_is_read_as_it_was_written(packages: list[DebianPackage], comments: list[int]) -> None:
    lines = [str(package) for package in packages]
    for place in comments:
        lines.insert(place, "# a comment")
    text = "\n".join([*lines, ""])
    assert debian_packages(text) == tuple(packages)
    for package in packages:
        first = next(item.version for item in packages if item.name == package.name)
        assert debian_version(text, package.name) in first


@given(package=_packages, place=st.integers(1, 400), text=st.text(" \t\x00é#", min_size=1, max_size=2))
def test_a_damaged_line_is_refused_with_its_number(package: DebianPackage, place: int, text: str) -> None:
    line = str(package)
    place = min(place, len(line))
    with pytest.raises(ValueError, match="line 2 is not of a Debian lock"):
        debian_packages(f"{package}\n{line[:place]}{text}{line[place:]}\n")


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("3.5a-3", "3.5a"),
        ("1:2.47.3-0+deb13u1", "2.47.3"),
        ("2.1.13-stable-1~deb13u1", "2.1.13-stable"),
        ("6.5", "6.5"),
    ],
)
def test_the_upstream_version_is_without_epoch_and_revision(version: str, upstream: str) -> None:
    package = DebianPackage("amd64", "libx++", version, "0" * 64, "pool/x.deb")
    assert debian_version(f"# x\n{package}\n", "libx++") == upstream


def test_versions_are_found_in_every_kind_of_lock() -> None:
    assert poetry_version('[[package]]\nname = "a-b"\nversion = "1.2"\n', "a-b") == "1.2"
    assert requirements_version("# x\na-b==1.2 ; python_version < '4' \\\n    --hash=sha256:0\n", "a-b") == "1.2"
    assert requirements_version("a.b==1.3 --hash=sha256:0\n", "a.b") == "1.3"
    assert tarball_version("00ff  code-server-4.139.1.tgz\n", "code-server") == "4.139.1"


@pytest.mark.parametrize("read", [debian_version, poetry_version, requirements_version, tarball_version])
def test_what_a_lock_does_not_have_is_named(read: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="tmux is not in the lock"):
        read("# tmux==1\ntmux-x==1\n", "tmux")


def test_there_is_a_lock_for_all_that_is_asked_for() -> None:
    names = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.lock") if path.name != "poetry.lock"}
    assert names == {*ASKED}
    files = {f"components/{component.name}/{name}" for component in BUILTIN for name in component.files}
    assert {*ASKED} <= files | {*BUILD_FILES}


@pytest.mark.parametrize("name", ASKED)
def test_a_lock_has_all_that_is_asked_for_once_for_each_architecture(name: str) -> None:
    packages = debian_packages((FOLDER / name).read_text())
    assert list(packages) == sorted(packages, key=lambda package: (package.architecture, package.name))
    for architecture in ("amd64", "arm64"):
        names = [package.name for package in packages if package.architecture == architecture]
        assert ASKED[name] <= set(names)
        assert len(names) == len(set(names))
    assert {package.architecture for package in packages} == {"amd64", "arm64"}


def test_the_versions_of_components_come_from_the_locks() -> None:
    versions = {component.name: component.version for component in BUILTIN}
    assert versions["tmux"] == debian_version((FOLDER / "components/tmux/debian.lock").read_text(), "tmux")
    assert all(version[0].isdigit() and version.isascii() for version in versions.values()), versions
