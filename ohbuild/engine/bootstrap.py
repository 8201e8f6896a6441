"""Builds the engine's root file system from Debian packages, atomically."""

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

# The first Debian release in which all of these are new enough: BuildKit supports the registry cache with the docker
# driver, and Docker stores images in containerd.
SUITE = "forky"
PACKAGES = (
    "ca-certificates", "crane", "docker-buildx", "docker-cli", "docker-registry", "docker.io", "git", "iproute2",
    "iptables", "kmod", "pigz", "qemu-user-static", "xz-utils",
)  # fmt: skip
# Without these options the root takes 1.1 GB, most of it QEMU for thirty architectures.
_LEFT_OUT = (
    "path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*", "path-exclude=/usr/bin/qemu-*", "path-include=/usr/bin/qemu-aarch64",
    "path-include=/usr/bin/qemu-x86_64",
)  # fmt: skip
MIRROR = "http://deb.debian.org/debian"
_ROOT_FILE = "ohbuild-root.json"
_FORMAT = 1
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Programs that Debian resolves through /etc/alternatives. The engine uses the host's /etc, which may lack them.
_ALTERNATIVES = {
    name: "xtables-nft-multi"
    for family in ("iptables", "ip6tables")
    for name in (family, f"{family}-save", f"{family}-restore")
}
OWN_PATH = "usr/lib/ohbuild/bin"


def host_architecture() -> str:
    """Returns this machine's architecture as OCI and Debian name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def check_host() -> None:
    """Checks that this machine can run the private engine.

    Raises:
        CannotHost: It cannot. The message gives the reason, the hint the alternatives.
    """
    if platform.system() != "Linux":
        raise CannotHost(f"ohbuild's private engine does not support {platform.system()}")
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if not names & {"debian", "ubuntu"} or not shutil.which("apt-get"):
        system = release.get("PRETTY_NAME", "this system")
        raise CannotHost(f"ohbuild's private engine requires Debian or Ubuntu ({system} is neither)")
    if host_architecture() not in _ARCHITECTURES.values():
        raise CannotHost(f"ohbuild's private engine does not support {host_architecture()}")
    if os.geteuid() != 0:
        hint = "run `sudo ohbuild engine up` and further ohbuild commands as root, or "
        raise CannotHost("only root can start ohbuild's private engine", hint)
    if not all(Path("/" + name).is_symlink() for name in ("bin", "sbin", "lib")):
        raise CannotHost("this system has no merged /usr (/bin is not a symlink)", "install the package usrmerge, or ")
    if not process.ask(["unshare", "--mount", "--pid", "--fork", "true"]).ok:
        hint = "run the container with --privileged, or "
        raise CannotHost("root is not permitted to mount here (an unprivileged container?)", hint)


def ensure_tools(layout: Layout, reporter: Reporter) -> None:
    """Installs mmdebstrap and Debian's archive keys if they are missing.

    Raises:
        EngineFailed: apt failed.
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

    with contextlib.suppress(process.JobFailed):  # the packages may come from sources that are still reachable
        apt("update")
    what = "apt-get could not install " + " ".join(missing)
    with explained(EngineFailed, what, "install them manually, then try again"):
        apt("install", "-y", "--no-install-recommends", *missing)
    task.done("installed")


def recipe(architecture: str) -> dict[str, object]:
    """Returns what a root is built from. A root with a different recipe is rebuilt."""
    return {"format": _FORMAT, "suite": SUITE, "architecture": architecture, "packages": list(PACKAGES)}


def is_whole(layout: Layout) -> bool:
    """Checks whether the engine's root is complete and has the current recipe."""
    return read_json(layout.root / _ROOT_FILE) == recipe(host_architecture())


def mirror() -> str:
    """Returns the Debian mirror: OHBUILD_DEBIAN_MIRROR, or Debian's own by default."""
    return os.environ.get("OHBUILD_DEBIAN_MIRROR") or MIRROR


def command(target: Path, architecture: str) -> tuple[str | Path, ...]:
    """Returns the mmdebstrap command line for the engine's root."""
    return (
        "mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory", f"--architectures={architecture}",
        # On a mirror, the release file of a testing suite may be past its Valid-Until date.
        "--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Retries \"3\"",
        *(f"--dpkgopt={option}" for option in _LEFT_OUT),
        "--include=" + ",".join(PACKAGES), SUITE, target, mirror(),
    )  # fmt: skip


def make_root(layout: Layout, reporter: Reporter) -> None:
    """Builds the engine's root unless it is already complete. The caller must hold the lock.

    Raises:
        EngineFailed: apt or mmdebstrap failed.
    """
    clean(layout.dir, "new-")
    if is_whole(layout):
        return
    ensure_tools(layout, reporter)
    task = reporter.task(f"building the engine from Debian {SUITE} packages")
    new = Path(tempfile.mkdtemp(prefix="new-", dir=layout.dir))
    new.chmod(0o755)
    try:
        job = process.Job(
            argv=command(new, host_architecture()),
            log=layout.logs / "bootstrap.log",
            on_line=partial(step, task),
            isolated=True,
        )
        with explained(EngineFailed, "the engine could not be built from Debian packages", GET_DOCKER):
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
    """Shows the current step of mmdebstrap (its lines ``I: …``)."""
    if line.startswith("I: ") and line.endswith("..."):
        task.step(line.removeprefix("I: ").removesuffix("...").strip())


def make_programs(layout: Layout) -> None:
    """Makes docker, buildx and crane callable on this machine, directly or with their own loader and libc.

    Raises:
        EngineFailed: A program cannot be run.
    """
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
            hint = "rebuild the engine with `ohbuild engine remove` and `ohbuild engine up`"
            raise EngineFailed(f"{program} does not run on this machine", hint)
        libraries = next(iter(sorted(usr.glob("lib/*-linux-gnu"))))
        link.write_text(
            f'#!/bin/sh\nexec {loader} --library-path {libraries} --argv0 "$0" {program} "$@"\n', encoding="utf-8"
        )
        link.chmod(0o755)


def clean(folder: Path, prefix: str) -> None:
    """Deletes what interrupted commands left behind. The caller must hold the lock for this prefix."""
    for left in folder.glob(prefix + "*"):
        delete_tree(left)


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """Returns the mount points below a folder, from the text of /proc/self/mountinfo (proc(5)).

    The folder itself does not count: it may be on its own disk.
    """
    points = (line.split()[4] for line in mountinfo.splitlines() if line)
    plain = (point.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", "\\") for point in points)
    return [point for point in plain if Path(point).is_relative_to(folder) and Path(point) != folder]


def delete_tree(folder: Path) -> None:
    """Deletes a folder, unless something is mounted below it.

    Raises:
        EngineFailed: Something is mounted below it, or it cannot be deleted.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    mounted = mounts_below(folder, Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    if mounted:
        raise EngineFailed(f"{folder} was not deleted: {mounted[0]} is a mount point", f"run `umount {mounted[0]}`")
    done = process.ask(["rm", "-rf", "--one-file-system", "--", folder], timeout=600)
    if not done.ok:
        raise EngineFailed(f"{folder} could not be deleted: {done.err}", "delete it manually")


def words(items: Sequence[str]) -> str:
    """Joins items as in ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""
