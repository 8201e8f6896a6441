"""`--system-packages`: settings, generated files, and the script that installs them.

The script runs with fake package managers that only record their calls, because no images of distributions with dnf or
zypper are available here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.assets import assets
from ohbuild.bake.bakefile import CA_FILE
from ohbuild.bake.facts import Facts, Purpose
from ohbuild.bake.model import DepsImage, Plan
from ohbuild.bake.plan import plan_notes
from ohbuild.bake.preflight import base_users
from ohbuild.bake.render import render
from ohbuild.bake.request import Request, make_request
from ohbuild.check.base import BaseReport
from ohbuild.config.settings import Settings, load
from ohbuild.errors import ImageNotFound, InvalidSetting, OhbuildError, RegistryError
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from tests.fakes import FAKES
from tests.plans import planned

SCRIPT = assets() / "dockerfiles" / "system-packages" / "install"
TOOLS = ("rm", "find", "touch", "date")
STUB = """#!/bin/sh
{ printf '%s' "${0##*/}"; for word in "$@"; do printf ' %s' "$word"; done; echo; } >>"$CALLS"
: >made
case "$*" in *nosuch*) echo "E: Unable to locate package nosuch"; exit 100 ;; esac
"""
MANAGERS = ("apt-get", "apk", "dnf", "microdnf", "yum", "zypper")
OS_RELEASE = {
    "debian": "PRETTY_NAME=x\nID=debian\n",
    "ubuntu": 'ID=ubuntu\nID_LIKE="debian"\n',
    "kali": "ID=kali\nID_LIKE=debian\n",
    "alpine": "ID=alpine\n",
    "wolfi": 'ID="wolfi"\n',
    "fedora": "ID=fedora\n",
    "rhel": 'ID="rhel"\nID_LIKE="fedora"\n',
    "rocky": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "amazon": "ID='amzn'\nID_LIKE='centos rhel fedora'\n",
    "nobara": 'ID=nobara\nID_LIKE="rhel centos fedora"\n',
    "leap": 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
    "sles": 'ID="sles"\nID_LIKE="suse"',  # no line break at its end
}


@dataclass(frozen=True)
class Ran:
    """The result of running the script."""

    code: int
    said: str
    calls: list[str]
    root: Path


Run = Callable[..., Ran]


@pytest.fixture(params=["sh", "bash"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs the script in a fake root with several shells. PATH only has the given package managers."""
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"{request.param} is not installed")

    def go(os_release: str | None, *managers: str, packages: str = "git curl", ca: bool = False) -> Ran:
        root, bins, calls = tmp_path / "root", tmp_path / "bin", tmp_path / "calls"
        for folder in ("etc", "tmp", "run/ohbuild", "usr/lib", "var/lib/apt/lists/partial", "var/cache/dnf/x"):
            (root / folder).mkdir(parents=True)
        (root / "var/lib/apt/lists/old").write_text("x")
        bins.mkdir()
        calls.touch()
        if os_release is not None:
            (root / "etc/os-release").write_text(os_release)
            os.utime(root / "etc/os-release", (1000, 1000))
        if ca:
            (root / "run/ohbuild/ca.crt").write_text("PEM")
        for tool in TOOLS:
            (bins / tool).symlink_to(str(shutil.which(tool)))
        for manager in managers:
            (bins / manager).write_text(STUB)
            (bins / manager).chmod(0o755)
        environment = {"PATH": str(bins), "CALLS": str(calls), "OHBUILD_BASE": "a.b/base:1"}
        environment |= {"SOURCE_DATE_EPOCH": "1735689600", "OHBUILD_SYSTEM_PACKAGES": packages}
        done = subprocess.run(
            [shell, str(SCRIPT), str(root)], env=environment, cwd=root, capture_output=True, text=True, check=False
        )
        return Ran(done.returncode, done.stderr + done.stdout, calls.read_text().splitlines(), root)

    return go


@pytest.mark.parametrize(
    ("system", "has", "manager"),
    [
        ("debian", MANAGERS, "apt-get"),
        ("ubuntu", MANAGERS, "apt-get"),
        ("kali", MANAGERS, "apt-get"),
        ("alpine", MANAGERS, "apk"),
        ("wolfi", MANAGERS, "apk"),
        ("fedora", MANAGERS, "dnf"),
        ("rhel", ("microdnf", "yum"), "microdnf"),
        ("rocky", ("yum",), "yum"),
        ("amazon", ("dnf", "yum"), "dnf"),
        ("nobara", ("dnf",), "dnf"),
        ("leap", MANAGERS, "zypper"),
        ("sles", MANAGERS, "zypper"),
    ],
)
def test_the_manager_follows_os_release(run: Run, system: str, has: tuple[str, ...], manager: str) -> None:
    ran = run(OS_RELEASE[system], *has)
    assert ran.code == 0, ran.said
    assert {call.split()[0] for call in ran.calls} == {manager}
    install = [call.split() for call in ran.calls if call.endswith(" git curl")]
    assert len(install) == 1, ran.calls
    assert {"install", "add"} & set(install[0])
    assert "installed by " + manager in ran.said


def test_how_each_manager_is_called(run: Run) -> None:
    """Non-interactive, without recommended packages, and with cleaned caches."""
    ran = run(OS_RELEASE["debian"], "apt-get")
    update, install, clean = ran.calls
    assert update.endswith(" update")
    assert install.endswith(" install --no-install-recommends git curl")
    assert clean.endswith(" clean")
    assert all(" -y " in call for call in ran.calls)
    assert [path.name for path in (ran.root / "var/lib/apt/lists").iterdir()] == ["partial"]


@pytest.mark.parametrize(
    ("system", "manager", "calls"),
    [
        ("alpine", "apk", ["apk add --no-cache git curl"]),
        (
            "fedora",
            "dnf",
            ["dnf install -y --setopt=install_weak_deps=0 --setopt=tsflags=nodocs git curl", "dnf clean all"],
        ),
        (
            "rhel",
            "microdnf",
            ["microdnf install -y --setopt=install_weak_deps=0 --setopt=tsflags=nodocs git curl", "microdnf clean all"],
        ),
        (
            "leap",
            "zypper",
            ["zypper --non-interactive install --no-recommends git curl", "zypper --non-interactive clean --all"],
        ),
    ],
)
def test_the_calls_of_the_others(run: Run, system: str, manager: str, calls: list[str]) -> None:
    ran = run(OS_RELEASE[system], manager)
    assert ran.calls == calls
    assert (ran.root / "var/cache/dnf").exists() is (manager in ("apk", "zypper"))


def test_what_is_made_gets_the_time_of_the_image_and_what_was_there_keeps_its_own(run: Run) -> None:
    ran = run(OS_RELEASE["alpine"], "apk")
    assert (ran.root / "made").stat().st_mtime == 1735689600
    assert (ran.root / "etc" / "os-release").stat().st_mtime == 1000


def test_the_ca_bundle_is_told_where_a_variable_does_not_do(run: Run) -> None:
    assert "--setopt=sslcacert=" in run(OS_RELEASE["fedora"], "dnf", ca=True).calls[0]


def test_a_name_is_never_a_pattern_of_the_shell(run: Run) -> None:
    """`*` in a version is for the package manager. Here the shell would expand it to folder names of the root."""
    ran = run(OS_RELEASE["alpine"], "apk", packages="v* git=2.*")
    assert ran.calls == ["apk add --no-cache v* git=2.*"]


@pytest.mark.parametrize(
    ("os_release", "managers", "text"),
    [
        (None, MANAGERS, "has no os-release"),
        ("ID=arch\n", MANAGERS, "os-release says ID=arch: no supported package manager"),
        ("ID=x\nID_LIKE='y z'\n", MANAGERS, "ID=x, ID_LIKE=y z: no supported package manager"),
        ("NAME=x\n", MANAGERS, "ID=nothing: no supported package manager"),
        ("ID=debian\n", ("apk",), "os-release says ID=debian, but it has no apt-get"),
        (OS_RELEASE["rocky"], ("apt-get",), "but it has no dnf microdnf yum"),
    ],
)
def test_a_base_without_one_is_told_with_its_os_release(
    run: Run, os_release: str | None, managers: tuple[str, ...], text: str
) -> None:
    ran = run(os_release, *managers)
    assert ran.code == 1
    assert ran.calls == []
    assert ran.said.startswith("ohbuild system-packages: a.b/base:1: ")
    assert text in ran.said


@pytest.mark.parametrize(("system", "manager"), [("debian", "apt-get"), ("alpine", "apk"), ("leap", "zypper")])
def test_a_failed_manager_fails_the_step(run: Run, system: str, manager: str) -> None:
    ran = run(OS_RELEASE[system], manager, packages="git nosuch")
    assert ran.code == 1
    assert f"a.b/base:1: {manager} failed with exit code 100" in ran.said


# --- settings, plan, generated files


def made(**values: Any) -> Settings:
    return Settings(**values)


@pytest.mark.parametrize(
    "name",
    [
        "git", "g++", "libstdc++6", "python3.13", "libc6:amd64", "curl=8.14.1-2", "git=1:2.*", "curl~8", "git>=2.40-r0",
        "libmagic1t64", "glibc-langpack-en.x86_64", "git@edge", "perl-JSON-PP", "7zip", "pkg=1.0~rc1^git1",
    ],
)  # fmt: skip
def test_names_that_package_managers_know(name: str) -> None:
    assert made(system_packages=[name]).system_packages == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "a b", "-y", "--allow-unauthenticated", "git-", "git;id", "git|id", "$(id)", "`id`", "${x}", "a'b",
        'a"b', "git\nid", "../x", "/tmp/x.deb", "*", "a&&b", "a#b", "git=", "git=1.0-", "é", "%{x}", "a\\b", "!a",
    ],
)  # fmt: skip
def test_what_is_no_package_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a package"):
        made(system_packages=[name])


def test_where_it_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ohbuild.toml").write_text('bases = [{image="x", system_packages=["git"]}, "y"]\nsystem_packages = ["file"]\n')
    settings = load().settings
    assert [base.system_packages for base in settings.bases] == [("git",), ()]
    assert settings.system_packages == ("file",)
    monkeypatch.setenv("OHBUILD_SYSTEM_PACKAGES", "curl, jq")
    assert load().settings.system_packages == ("curl", "jq")
    assert load({"system_packages": ["tree"]}).settings.system_packages == ("tree",)
    monkeypatch.setenv("OHBUILD_SYSTEM_PACKAGES", "curl;id")
    with pytest.raises(InvalidSetting, match=r"OHBUILD_SYSTEM_PACKAGES: 'curl;id' is not a package"):
        load()


def plan(bases: list[Any], **settings: Any) -> Plan:
    values = {"image": "localhost:5000/x/runtime", "bases": bases, "platforms": "linux/amd64", **settings}
    ready = DepsImage(image=ImageRef.parse("a.b/deps:1")) if "deps_image" in settings else None
    users = {"docker.io/library/debian:trixie": "me:staff"}
    return planned(Settings(**values), users=users, deps_image=ready)


def request(bases: list[Any], **settings: Any) -> Request:
    values = {"image": "localhost:5000/x/runtime", "bases": bases, "platforms": "linux/amd64", **settings}
    return make_request(Settings(**values), FAKES)


def notes(made: Plan) -> list[str]:
    return plan_notes(made, load({}).settings, Facts())


WITH = {"image": "debian:trixie", "system_packages": ["git", "curl=8.*"]}


def test_a_base_has_its_own_and_the_general_ones() -> None:
    targets = plan([WITH, "alpine:3.23"], system_packages=["jq", "git"]).runtimes
    packages = [target.base.system_packages for target in targets if target.base]
    assert packages == [("curl=8.*", "git", "jq"), ("git", "jq")]


def test_only_who_asks_for_packages_has_a_run(bake_print: Callable[[str], dict[str, Any]]) -> None:
    rendered = render(plan([WITH, "alpine:3.23"]), ca_bundle=b"PEM")
    targets = bake_print(rendered.hcl + 'group "all" {\n  targets = ["default"]\n}\n')
    debian, alpine = targets["runtime-debian-trixie"], targets["runtime-alpine-3-23"]
    assert debian["args"]["FOUNDATION"] == "system-packages"
    assert debian["args"]["OHBUILD_SYSTEM_PACKAGES"] == "curl=8.* git"
    assert debian["args"]["OHBUILD_BASE_USER"] == "me:staff"
    assert debian["labels"]["dev.ohbuild.system-packages"] == "curl=8.* git"
    assert not {"FOUNDATION", "OHBUILD_SYSTEM_PACKAGES", "OHBUILD_BASE_USER"} & set(alpine["args"])
    for text in [rendered.files["Dockerfile"].data.decode()]:
        stages = {stage.splitlines()[0]: stage for stage in text.split("\nFROM ")[1:]}
        # The runtime is built on the base, unless a target overrides FOUNDATION.
        assert "\nARG FOUNDATION=${BASE}\n" in text
        assert "RUN" not in stages["${FOUNDATION} AS runtime"].split()
        stage = stages["${BASE} AS system-packages"]
        words = re.findall(r"^(ARG|USER|RUN|ENV|COPY)\b", stage, flags=re.M)
        assert words == ["ARG", "ARG", "ARG", "USER", "RUN", "ARG", "USER"]
        assert re.findall(r"^USER (.*)$", stage, flags=re.M) == ["0:0", "${OHBUILD_BASE_USER}"]
    assert rendered.files["context/system-packages/install"].executable


def test_without_packages_nothing_of_it_is_there() -> None:
    rendered = render(plan(["debian:trixie"]), ca_bundle=b"PEM")
    assert not [name for name in rendered.files if "system-packages" in name]
    for name in ("Dockerfile", "docker-bake.hcl"):
        text = rendered.files[name].data.decode()
        assert not [word for word in ("system-packages", "FOUNDATION", "SYSTEM_PACKAGES", "BASE_USER") if word in text]


def test_packages_go_into_the_key_and_not_into_that_of_others() -> None:
    bare = render(plan(["debian:trixie", "alpine:3.23"]))
    one = render(plan([WITH, "alpine:3.23"]))
    two = render(plan([{**WITH, "system_packages": ["git"]}, "alpine:3.23"]))
    turned = render(plan([{**WITH, "system_packages": ["curl=8.*", "git"]}, "alpine:3.23"]))
    name = "runtime-debian-trixie"
    assert len({item.keys[name] for item in (bare, one, two)}) == 3
    assert len({item.tags[name][1] for item in (bare, one, two)}) == 3
    assert {item.tags[name][0] for item in (bare, one, two)} == {"localhost:5000/x/runtime:debian-trixie"}
    assert one.keys[name] == turned.keys[name]
    assert one.keys["deps"] == bare.keys["deps"]


def test_with_a_ready_deps_image_too(bake_print: Callable[[str], dict[str, Any]]) -> None:
    rendered = render(plan([WITH], deps_image="a.b/deps:1"), ca_bundle=b"PEM")
    target = bake_print(rendered.hcl + 'group "all" {\n  targets = ["default"]\n}\n')["runtime-debian-trixie"]
    assert target["secret"] == [{"id": "ca", "src": CA_FILE}]
    assert target["args"]["FOUNDATION"] == "system-packages"
    assert {CA_FILE, "context/system-packages/install"} <= set(rendered.files)


def test_preflight_off_is_refused() -> None:
    from ohbuild.bake.job import prepare
    from ohbuild.errors import NoEngine

    def nothing() -> Any:
        raise NoEngine("none")

    settings = made(bases=[WITH], preflight=False, folder=Path("x"))
    with pytest.raises(OhbuildError, match="system_packages need the bases' USER"):
        prepare(settings, known=FAKES, connect=nothing, purpose=Purpose.SHOW)


def report(name: str, *users: str) -> BaseReport:
    platforms = [Platform.parse("amd64"), Platform.parse("arm64")]
    pairs = zip(platforms, users, strict=False)
    configs = {platform: ImageConfig(platform=platform, user=user) for platform, user in pairs}
    return BaseReport(base=ImageRef.parse(name), wanted=tuple(platforms), configs=configs)


def test_the_users_of_the_bases() -> None:
    asked = request([WITH, "alpine:3.23"])
    users, wrong = base_users(asked, [report("debian:trixie", "me", "me"), report("alpine:3.23", "", "you")])
    assert users == {"docker.io/library/debian:trixie": "me", "docker.io/library/alpine:3.23": ""}
    assert not wrong, "only bases with packages need a single user"
    _, (error,) = base_users(asked, [report("debian:trixie", "", "me")])
    assert "its USER differs between platforms (root, me)" in error.message
    _, (error,) = base_users(asked, [report("debian:trixie")])
    assert "its USER is unknown" in error.message
    assert notes(plan(["alpine:3.23"])) == []
    assert "are installed in debian:trixie:" in notes(plan([WITH, "alpine:3.23"]))[0]


def test_extra_deps_need_the_users_as_well() -> None:
    asked = request(["debian:trixie", "alpine:3.23"], extra_deps="true")
    silent = replace(report("alpine:3.23"), errors=(RegistryError("it does not answer"),))
    users, (error,) = base_users(asked, [report("debian:trixie", "me"), silent])
    assert users == {"docker.io/library/debian:trixie": "me"}
    assert error.message == "extra_deps of alpine:3.23: its USER is unknown"
    missing = replace(silent, errors=(ImageNotFound("there is none"),))
    assert base_users(asked, [report("debian:trixie", "me"), missing])[1] == [], "the missing image is already reported"
    made = plan(["debian:trixie", "alpine:3.23"], extra_deps="true")
    assert "extra_deps run in debian:trixie, alpine:3.23: this pulls the base" in notes(made)[0]
