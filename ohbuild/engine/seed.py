"""Puts bases into the engine's registry under their ordinary names, where Docker Hub cannot be reached."""

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
    """The reference of a base to seed: on Docker Hub, with a tag.

    Raises:
        InvalidReference: it is malformed, of another registry, or a digest.
    """
    ref = ImageRef.parse(text)
    if ref.registry != DOCKER_HUB:
        raise InvalidReference(
            f"{text!r} is not a name on Docker Hub", "only those are looked up in the engine's registry; push others"
        )
    if ref.digest:
        raise InvalidReference(f"{text!r} is a digest", "a base that is made here gets a digest of its own: give a tag")
    return ImageRef(ref.registry, ref.path, ref.tag or "latest")


def chosen_platforms(asked: Sequence[Platform], source: Path | None, found: str) -> tuple[Platform, ...]:
    """The platforms to make.

    Args:
        asked: from the command line, may be empty.
        source: the root file system, if one was given.
        found: architecture of its programs, or empty.

    Raises:
        UsageError: more than one platform for one root file system, or the wrong one.
        InvalidPlatform: one that cannot be made.
    """
    for platform in asked:
        if platform.system != "linux" or platform.architecture not in _KNOWN or platform.variant:
            raise InvalidPlatform(f"a base cannot be seeded for {platform}", "known: linux/amd64, linux/arm64")
    if source is None:
        return tuple(asked) or tuple(Platform("linux", name) for name in _KNOWN)
    if len(asked) > 1:
        raise UsageError(
            f"--from {source} is for one platform, not {len(asked)}", "seed the name once for each; they are merged"
        )
    wanted = asked[0] if asked else Platform("linux", found or host_architecture())
    if found and found != wanted.architecture:
        raise UsageError(
            f"--from {source} holds programs for {found}, not for {wanted.architecture}",
            f"leave --platform out, or say --platform linux/{found}" if found in _KNOWN else "known: amd64, arm64",
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
    """Make a base and push it, unless it is there. The caller holds the lock `seed`.

    Args:
        port: of the registry, on loopback.
        platforms, source: what to make; other platforms of that name stay.
        force: make it even if it is there.

    Returns:
        The digest of the image manifest for each platform, and whether one was made.

    Raises:
        SeedFailed: a base could not be made.
        RegistryError: the registry did not take it.
    """
    there = http.platforms_of(port, ref.path, ref.tag)
    todo = [platform for platform in platforms if force or str(platform) not in there]
    if not todo:
        reporter.say(f"{ref} is seeded already for {words([str(platform) for platform in platforms])}")
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
    # A copy that the engine pulled before would be taken instead of the new one.
    process.ask([layout.bin / "docker", "--host", layout.host, "image", "rm", str(ref)], timeout=60)
    entry = {"name": str(ref), "platforms": digests, "source": str(source or "debian"), "digest": index}
    write_json(layout.seeds, {**remembered(layout), str(ref): entry})
    return digests, True


def _bootstrap(
    layout: Layout, ref: ImageRef, platforms: Sequence[Platform], work: Path, reporter: Reporter
) -> dict[Platform, Path]:
    """Bootstrap a suite for several platforms at the same time."""
    suite = Suite.of_tag(ref.tag)
    ensure_tools(layout, reporter)
    hook = work / "debian-image.sh"
    write_text(hook, importlib.resources.files(__package__).joinpath("debian-image.sh").read_text())
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
    # mmdebstrap in a scratch folder of root's own would be unreadable for apt's sandbox user
    work.chmod(0o755)
    with explained(SeedFailed, f"{ref} could not be bootstrapped"):
        process.work(*jobs)
    for tar, task in zip(tars.values(), tasks, strict=True):
        _forbid_services(work, tar)
        task.done("bootstrapped")
    return tars


def _forbid_services(work: Path, tar: Path) -> None:
    """Add the policy by which packages start no services, as the image on Docker Hub has it."""
    policy = work / "usr/sbin/policy-rc.d"
    write_text(policy, "#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    owner = ("--owner=root:0", "--group=root:0", f"--mtime=@{EPOCH}")
    done = process.ask(["tar", "--append", "--file", tar, "--directory", work, *owner, "./usr/sbin/policy-rc.d"])
    if not done.ok:
        raise SeedFailed(f"{tar} could not be completed: {done.err}", advice(done.err, "see whether the disk is full"))


def _check_emulation(architecture: str) -> None:
    state = binfmt.status(architecture)
    if state != "enabled":
        raise SeedFailed(
            f"programs for {architecture} cannot be run on this machine: QEMU is {state} in binfmt_misc",
            "switch it on: `echo 1 > /proc/sys/fs/binfmt_misc/status`, and for the one entry likewise"
            if state == "disabled"
            else "`ohbuild engine up` registers it",
        )


def _pack(layout: Layout, source: Path, work: Path, reporter: Reporter) -> Path:
    """A tar of a root file system; a tar stays as it is."""
    if source.is_file():
        return source.resolve()
    task = reporter.task(f"packing {source}")
    target = work / "rootfs.tar"
    job = process.Job(
        argv=(
            "tar", "--create", "--file", target, "--directory", source, "--sort=name", "--numeric-owner", "--xattrs",
            "--one-file-system", "--clamp-mtime", f"--mtime=@{EPOCH}", "--format=posix",
            # neither times of access nor process numbers in the headers, so that the same files give the same tar
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
        last = (done.err.splitlines() or ["no answer"])[-1]
        hint = "the disk is full" if "no space left" in done.err else "see log/registry.log in the engine's folder"
        raise RegistryError(f"the engine's registry did not take the base: {last}", hint)
    return done.out.splitlines()[-1] if done.out else ""


def _push(layout: Layout, ref: ImageRef, platform: Platform, tar: Path, shell: str, port: int) -> str:
    """Push a root as an image of one layer, and return its digest. It also gets the tag `<tag>-<architecture>`."""
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
    """What was seeded into this engine, by name."""
    return read_json(layout.seeds)


def available(docker: Path, ref: ImageRef) -> None:
    """See whether the user's own Docker gets a base by itself, as there is no registry of ours to seed it into.

    Raises:
        NoEngine: it does not; says how to get an engine that can be seeded.
    """
    answer = process.ask([docker, "buildx", "imagetools", "inspect", "--raw", str(ref)], timeout=60)
    if not answer.ok:
        last = (answer.err.splitlines() or ["no answer"])[-1]
        raise NoEngine(
            f"{ref} is not seeded: the engine is your own Docker, which has no registry of ohbuild's, and it cannot "
            f"get {ref} by itself ({last})",
            "set OHBUILD_ENGINE=ohbuild and run `ohbuild engine up`: that makes a private engine beside your own",
        )
