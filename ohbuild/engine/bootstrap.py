"""Makes the engine's root file system from Debian packages, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ohbuild import process
from ohbuild.engine.errors import GET_DOCKER, CannotHost, EngineFailed, explained
from ohbuild.engine.progress import Reporter, Task
from ohbuild.engine.state import Layout, read_json, write_json

# The first Debian release in which all of these are new enough: a BuildKit with the registry cache in the docker
# driver, and a Docker that keeps images in containerd.
SUITE = "forky"
PACKAGES = (
    "ca-certificates", "crane", "docker-buildx", "docker-cli", "docker-registry", "docker.io", "git", "iproute2",
    "iptables", "kmod", "pigz", "qemu-user-static", "xz-utils",
)  # fmt: skip
# 1.1 GB otherwise, most of it QEMU for thirty machines.
_LEFT_OUT = (
    "path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*", "path-exclude=/usr/bin/qemu-*", "path-include=/usr/bin/qemu-aarch64",
    "path-include=/usr/bin/qemu-x86_64",
)  # fmt: skip
MIRROR = "http://deb.debian.org/debian"
_ROOT_FILE = "ohbuild-root.json"
_FORMAT = 1
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Programs that Debian finds through /etc/alternatives; the engine uses the host's /etc, which may lack them.
_ALTERNATIVES = {
    name: "xtables-nft-multi"
    for family in ("iptables", "ip6tables")
    for name in (family, f"{family}-save", f"{family}-restore")
}
OWN_PATH = "usr/lib/ohbuild/bin"


def host_architecture() -> str:
    """This machine's architecture in OCI's (and Debian's) words."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def check_host() -> None:
    """Whether this machine can have the private engine.

    Raises:
        CannotHost: it cannot, with the reason and how to get Docker instead.
    """
    if platform.system() != "Linux":
        raise CannotHost(f"ohbuild has no engine of its own for {platform.system()}")
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if not names & {"debian", "ubuntu"} or not shutil.which("apt-get"):
        raise CannotHost(f"{release.get('PRETTY_NAME', 'this system')} is neither Debian nor Ubuntu")
    if host_architecture() not in _ARCHITECTURES.values():
        raise CannotHost(f"the engine is not made for {host_architecture()}")
    if os.geteuid() != 0:
        hint = "run `sudo ohbuild engine up` (and ohbuild as root), or "
        raise CannotHost("only root can start ohbuild's own engine", hint)
    if not all(Path("/" + name).is_symlink() for name in ("bin", "sbin", "lib")):
        raise CannotHost("this old system has a /bin apart from /usr/bin", "install the package usrmerge, or ")
    if not process.ask(["unshare", "--mount", "--pid", "--fork", "true"]).ok:
        hint = "run the container with --privileged, or "
        raise CannotHost("root may not mount here (a container without privileges?)", hint)


def ensure_tools(layout: Layout, reporter: Reporter) -> None:
    """Install mmdebstrap and Debian's keys where they are missing.

    Raises:
        EngineFailed: apt could not.
    """
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    there = {"mmdebstrap": shutil.which("mmdebstrap"), "debian-archive-keyring": keyring.exists()}
    missing = [package for package, found in there.items() if not found]
    if not missing:
        return
    task = reporter.task("apt-get install " + " ".join(missing))

    def apt(word: str, *arguments: str) -> None:
        task.step(word)
        options = ("DPkg::Lock::Timeout=120", "Acquire::Retries=3", "Acquire::Check-Valid-Until=false")
        argv = ("apt-get", *(f"-o{option}" for option in options), word, *arguments)
        log = layout.logs / f"apt-{word}.log"
        process.work(process.Job(argv=argv, log=log, env={"DEBIAN_FRONTEND": "noninteractive"}))

    with contextlib.suppress(process.JobFailed):  # one dead source of many is no reason to give up
        apt("update")
    what = "apt-get could not install " + " ".join(missing)
    with explained(EngineFailed, what, "install them by hand, then try again"):
        apt("install", "-y", "--no-install-recommends", *missing)
    task.done("installed")


def recipe(architecture: str) -> dict[str, object]:
    """What a root is made of; a root made of something else is made anew."""
    return {"format": _FORMAT, "suite": SUITE, "architecture": architecture, "packages": list(PACKAGES)}


def is_whole(layout: Layout) -> bool:
    """Whether the engine's root is there and the one we would make."""
    return read_json(layout.root / _ROOT_FILE) == recipe(host_architecture())


def mirror() -> str:
    """The Debian mirror: OHBUILD_DEBIAN_MIRROR or Debian's own."""
    return os.environ.get("OHBUILD_DEBIAN_MIRROR") or MIRROR


def command(target: Path, architecture: str) -> tuple[str | Path, ...]:
    """The mmdebstrap call for the engine's root."""
    return (
        "mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", f"--architectures={architecture}",
        # The release file of a testing suite on a mirror may be older than it says it is good for.
        "--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Retries \"3\"",
        *(f"--dpkgopt={option}" for option in _LEFT_OUT),
        "--include=" + ",".join(PACKAGES), SUITE, target, mirror(),
    )  # fmt: skip


def make_root(layout: Layout, reporter: Reporter) -> None:
    """Make the engine's root, if it is not there and whole. The caller holds the lock.

    Raises:
        EngineFailed: apt or mmdebstrap failed.
    """
    clean(layout.dir, "new-")
    if is_whole(layout):
        return
    ensure_tools(layout, reporter)
    task = reporter.task(f"making the engine from Debian {SUITE}'s packages")
    new = Path(tempfile.mkdtemp(prefix="new-", dir=layout.dir))
    new.chmod(0o755)
    try:
        job = process.Job(
            argv=command(new, host_architecture()),
            log=layout.logs / "bootstrap.log",
            on_line=partial(step, task),
            isolated=True,
        )
        with explained(EngineFailed, "the engine could not be made from Debian's packages", GET_DOCKER):
            process.work(job)
        own = new / OWN_PATH
        own.mkdir(parents=True)
        for name, program in _ALTERNATIVES.items():
            (own / name).symlink_to(f"/usr/sbin/{program}")
        (new / "usr/lib/modules").mkdir(exist_ok=True)
        write_json(new / _ROOT_FILE, recipe(host_architecture()))
        if layout.root.exists():
            delete_tree(layout.root)
        new.rename(layout.root)
    finally:
        delete_tree(new)
    make_programs(layout)
    task.done()


def step(task: Task, line: str) -> None:
    """Show where mmdebstrap is (its lines `I: …`)."""
    if line.startswith("I: ") and line.endswith("..."):
        task.step(line.removeprefix("I: ").removesuffix("...").strip())


def make_programs(layout: Layout) -> None:
    """Make docker, buildx and crane callable on this machine: as they are, or with their own loader and libc."""
    layout.bin.mkdir(exist_ok=True)
    plugins = layout.client / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    usr = layout.root / "usr"
    for link, program, question in (
        (layout.bin / "docker", usr / "bin/docker", "--version"),
        (layout.bin / "crane", usr / "bin/crane", "--help"),
        (plugins / "docker-buildx", usr / "libexec/docker/cli-plugins/docker-buildx", "version"),
    ):
        link.unlink(missing_ok=True)
        if process.ask([program, question]).ok:
            link.symlink_to(program)
            continue
        loader = next(iter(sorted(usr.glob("lib*/ld-linux-*.so.*"))), None)
        if loader is None:
            raise EngineFailed(f"{program} does not run on this machine", "remove the engine and bring it up again")
        libraries = next(iter(sorted(usr.glob("lib/*-linux-gnu"))))
        link.write_text(f'#!/bin/sh\nexec {loader} --library-path {libraries} --argv0 "$0" {program} "$@"\n')
        link.chmod(0o755)


def clean(folder: Path, prefix: str) -> None:
    """Delete what an interrupted command left. The caller holds the lock of those who use that prefix."""
    for left in folder.glob(prefix + "*"):
        delete_tree(left)


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """Mount points at or below a folder, from the text of /proc/self/mountinfo (proc(5)).

    The folder itself may well be a mount point, of a disk of its own, and is not counted.
    """
    points = (line.split()[4] for line in mountinfo.splitlines() if line)
    plain = (point.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", "\\") for point in points)
    return [point for point in plain if Path(point).is_relative_to(folder) and Path(point) != folder]


def delete_tree(folder: Path) -> None:
    """Delete a folder, never through a mount: one that has a mount below is left, with an error.

    Raises:
        EngineFailed: something is mounted below it, or the disk refuses.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    mounted = mounts_below(folder, Path("/proc/self/mountinfo").read_text())
    if mounted:
        raise EngineFailed(f"{folder} is not deleted: {mounted[0]} is mounted there", f"umount {mounted[0]}")
    done = process.ask(["rm", "-rf", "--one-file-system", "--", folder], timeout=600)
    if not done.ok:
        raise EngineFailed(f"{folder} could not be deleted: {done.err}", "delete it by hand")


def words(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""
