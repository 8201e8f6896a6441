"""Puts bases into the engine's registry under their ordinary names, for use without Docker Hub."""

from __future__ import annotations

import importlib.resources
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ohbuild import process
from ohbuild.engine import binfmt, http, rootfs
from ohbuild.engine.bootstrap import clean, delete_tree, ensure_tools, host_architecture, mirror, step, words
from ohbuild.engine.debian import EPOCH, Suite
from ohbuild.engine.errors import SeedFailed, advice, explained
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import Layout, read_json, write_json, write_text
from ohbuild.errors import InvalidPlatform, InvalidReference, NoEngine, RegistryError, UsageError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import DOCKER_HUB, ImageRef

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KNOWN = ("amd64", "arm64")


def base_name(text: str) -> ImageRef:
    """Parses the name of a base to seed: a reference on Docker Hub with a tag, ``latest`` by default.

    Raises:
        InvalidReference: It is malformed, has a digest, or is in another registry.
    """
    ref = ImageRef.parse(text)
    if ref.registry != DOCKER_HUB:
        raise InvalidReference(
            f"{text!r} cannot be seeded: not a name on Docker Hub",
            "push the image to its own registry; the engine's registry only stands in for Docker Hub",
        )
    if ref.digest:
        raise InvalidReference(
            f"{text!r} cannot be seeded: it has a digest", "use a tag; a base that is seeded gets a new digest"
        )
    return ImageRef(ref.registry, ref.path, ref.tag or "latest")


def chosen_platforms(asked: Sequence[Platform], source: Path | None, found: str) -> tuple[Platform, ...]:
    """Returns the platforms to seed.

    Args:
        asked: Requested platforms; may be empty.
        source: Root file system, if one was passed.
        found: Architecture of its programs; empty if unknown.

    Raises:
        UsageError: The root file system is not for the requested platform, or several were requested for it.
        InvalidPlatform: A platform is not supported.
    """
    for platform in asked:
        if platform.system != "linux" or platform.architecture not in _KNOWN or platform.variant:
            raise InvalidPlatform(f"bases cannot be seeded for {platform}", "use linux/amd64 or linux/arm64")
    if source is None:
        return tuple(asked) or tuple(Platform("linux", name) for name in _KNOWN)
    if len(asked) > 1:
        raise UsageError(
            f"--from {source} is for one platform, but {len(asked)} were requested",
            "seed the name once for each platform; the results are merged",
        )
    wanted = asked[0] if asked else Platform("linux", found or host_architecture())
    if found and found != wanted.architecture:
        raise UsageError(
            f"--from {source} contains programs for {found}, not for {wanted.architecture}",
            f"omit --platform, or use --platform linux/{found}"
            if found in _KNOWN
            else "use a root file system for amd64 or arm64",
        )
    return (wanted,)


def seed(
    layout: Layout,
    ref: ImageRef,
    *,
    port: int,
    platforms: Sequence[Platform],
    source: Path | None,
    force: bool,
    reporter: Reporter,
) -> tuple[dict[str, str], bool]:
    """Seeds a base unless it already exists. The caller must hold the lock ``seed``.

    Args:
        layout: Paths of the engine.
        ref: Name of the base.
        port: Port of the registry on loopback.
        platforms: Platforms to seed; other platforms of the same name are kept.
        source: Root file system; by default, a Debian suite is bootstrapped.
        force: Whether to replace existing platforms.
        reporter: Shows the progress.

    Returns:
        Digest of the image manifest by platform, and whether any was built.

    Raises:
        SeedFailed: An image could not be built.
        RegistryError: The push failed.
    """
    there = http.platforms_of(port, ref.path, ref.tag)
    todo = [platform for platform in platforms if force or str(platform) not in there]
    if not todo:
        reporter.say(f"{ref} is already seeded for {words([str(platform) for platform in platforms])}")
        return there, False
    clean(layout.dir, "seed-")
    digests = dict(there)
    work = Path(tempfile.mkdtemp(prefix="seed-", dir=layout.dir))
    try:
        if source:
            tars = {todo[0]: _pack(layout, source, work, reporter)}
            shell = rootfs.look(source).shell
        else:
            tars = _bootstrap(layout, ref, todo, work, reporter)
            shell = "bash"
        for platform, tar in tars.items():
            task = reporter.task(f"{ref} {platform}")
            task.step("pushing")
            digests[str(platform)] = _push(layout, ref, platform, tar, shell, port)
            task.done()
    finally:
        delete_tree(work)
    index = _index(layout, ref, digests, port)
    # Otherwise the engine would keep using a copy that it pulled earlier.
    process.ask([layout.bin / "docker", "--host", layout.host, "image", "rm", str(ref)], timeout=60)
    entry = {"name": str(ref), "platforms": digests, "source": str(source or "debian"), "digest": index}
    write_json(layout.seeds, {**remembered(layout), str(ref): entry})
    return digests, True


def _bootstrap(
    layout: Layout, ref: ImageRef, platforms: Sequence[Platform], work: Path, reporter: Reporter
) -> dict[Platform, Path]:
    """Bootstraps a suite for several platforms in parallel, and returns the archives."""
    suite = Suite.of_tag(ref.tag)
    ensure_tools(layout, reporter)
    hook = work / "debian-image.sh"
    write_text(hook, importlib.resources.files(__package__).joinpath("debian-image.sh").read_text(encoding="utf-8"))
    sources = work / "sources.list"
    write_text(sources, suite.sources(mirror()))
    stale = 'Acquire::Check-Valid-Until "false"' in process.ask(["apt-config", "dump"]).out
    jobs, tars, tasks = [], {}, []
    for platform in platforms:
        name = platform.architecture
        if name != host_architecture():
            _check_emulation(name)
        task = reporter.task(f"{ref} {platform}")
        tars[platform] = work / f"{name}.tar"
        scratch = work / f"tmp-{name}"
        scratch.mkdir()
        argv = suite.command(architecture=name, sources=sources, hook=hook, target=tars[platform], stale=stale)
        jobs.append(
            process.Job(
                argv=argv,
                log=layout.logs / f"seed-debian-{suite.name}-{name}.log",
                env={"TMPDIR": str(scratch), "SOURCE_DATE_EPOCH": str(EPOCH), "DEBIAN_FRONTEND": "noninteractive"},
                on_line=partial(step, task),
                isolated=True,
            )
        )
        tasks.append(task)
    # apt's sandbox user must be able to read mmdebstrap's scratch folders
    work.chmod(0o755)
    with explained(SeedFailed, f"{ref} could not be bootstrapped"):
        process.work(*jobs)
    for tar, task in zip(tars.values(), tasks, strict=True):
        _forbid_services(work, tar)
        task.done("bootstrapped")
    return tars


def _forbid_services(work: Path, tar: Path) -> None:
    """Adds the policy that keeps packages from starting services, as in the image on Docker Hub."""
    policy = work / "usr/sbin/policy-rc.d"
    write_text(policy, "#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    owner = ("--owner=root:0", "--group=root:0", f"--mtime=@{EPOCH}")
    done = process.ask(["tar", "--append", "--file", tar, "--directory", work, *owner, "./usr/sbin/policy-rc.d"])
    if not done.ok:
        hint = advice(done.err, "check that the disk is not full")
        raise SeedFailed(f"policy-rc.d could not be added to {tar}: {done.err}", hint)


def _check_emulation(architecture: str) -> None:
    state = binfmt.status(architecture)
    if state != "enabled":
        raise SeedFailed(
            f"this machine cannot run programs for {architecture}: QEMU is {state} in binfmt_misc",
            "enable it: `echo 1 > /proc/sys/fs/binfmt_misc/status`, and likewise for QEMU's entry in that folder"
            if state == "disabled"
            else "register it with `ohbuild engine up`",
        )


def _pack(layout: Layout, source: Path, work: Path, reporter: Reporter) -> Path:
    """Packs a root file system into a tar archive; an archive is used as is."""
    if source.is_file():
        return source.resolve()
    task = reporter.task(f"packing {source}")
    target = work / "rootfs.tar"
    job = process.Job(
        argv=(
            "tar", "--create", "--file", target, "--directory", source, "--sort=name", "--numeric-owner", "--xattrs",
            "--one-file-system", "--clamp-mtime", f"--mtime=@{EPOCH}", "--format=posix",
            # no access times or process IDs in the headers, so that the same files give the same archive
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", ".",
        ),
        log=layout.logs / "seed-tar.log",
    )  # fmt: skip
    with explained(SeedFailed, f"{source} could not be packed"):
        process.work(job)
    task.done()
    return target


def _crane(layout: Layout, *argv: str | Path) -> str:
    done = process.ask([layout.bin / "crane", *argv], timeout=900, env={"DOCKER_CONFIG": str(layout.client)})
    if not done.ok:
        last = (done.err.splitlines() or ["no output"])[-1]
        full = "no space left" in done.err
        hint = "the disk is full: free some space" if full else f"check {layout.logs / 'registry.log'}"
        raise RegistryError(f"pushing the base to the engine's registry failed: {last}", hint)
    return done.out.splitlines()[-1] if done.out else ""


def _push(layout: Layout, ref: ImageRef, platform: Platform, tar: Path, shell: str, port: int) -> str:
    """Pushes a root as a single-layer image with the tag ``<tag>-<architecture>``, and returns its digest."""
    name = f"127.0.0.1:{port}/{ref.path}:{ref.tag}-{platform.architecture}"
    _crane(layout, "append", "--oci-empty-base", "--new_layer", tar, "--new_tag", name)
    command = ("--cmd", shell) if shell else ()
    said = _crane(layout, "mutate", name, "--set-platform", str(platform), "--env", _PATH, *command, "--tag", name)
    return said.rpartition("@")[2]


def _index(layout: Layout, ref: ImageRef, digests: dict[str, str], port: int) -> str:
    name = f"127.0.0.1:{port}/{ref.path}"
    manifests = [word for _, digest in sorted(digests.items()) for word in ("--manifest", f"{name}@{digest}")]
    return _crane(layout, "index", "append", *manifests, "--tag", f"{name}:{ref.tag}").rpartition("@")[2]


def remembered(layout: Layout) -> dict[str, dict[str, object]]:
    """Returns the recorded seeds of this engine by name."""
    return read_json(layout.seeds)


def available(docker: Path, ref: ImageRef) -> None:
    """Checks that the user's own Docker can pull a base, since only the private engine can be seeded.

    Raises:
        NoEngine: It cannot; the hint shows how to get an engine that can be seeded.
    """
    answer = process.ask([docker, "buildx", "imagetools", "inspect", "--raw", str(ref)], timeout=60)
    if not answer.ok:
        last = (answer.err.splitlines() or ["no output"])[-1]
        raise NoEngine(
            f"{ref} cannot be seeded into your own Docker, and Docker cannot find it in a registry ({last})",
            "to seed it into ohbuild's private engine, set OHBUILD_ENGINE=ohbuild and run `ohbuild engine up`",
        )
