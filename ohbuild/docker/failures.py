"""Turns the output of a failed buildx into an error with the cause, the place and the fix."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ohbuild.docker.progress import Progress
from ohbuild.errors import (
    AuditFailed,
    BuildFailed,
    DiskFull,
    ImageNotFound,
    InvalidDockerfile,
    NoEngine,
    OhbuildError,
    OutOfMemory,
    Place,
    RegistryError,
    RegistryRefused,
    UsageError,
)

_LOG_SHOWN = 15
_NO_BUILDER = (
    "cannot connect to the docker daemon",
    "no builder ",
    "failed to list workers",
    "failed to find driver",
    "failed to initialize builder",
    "is the docker daemon running",
    "failed to get status",
    "no valid drivers found",
    "context deadline exceeded while waiting for connection",
    "permission denied while trying to connect to the docker",
)
_BOOTING = "[internal] booting buildkit"  # buildx's own step, if a builder's daemon does not run yet
_UNREACHABLE = (
    "connection refused",
    "no such host",
    "i/o timeout",
    "network is unreachable",
    "tls handshake",
    "no route to",
)
_REFUSED = re.compile(r"\b40[13]\b|unauthorized|denied|authentication required|insufficient_scope|forbidden", re.I)
# Names in a message that can look like a status: a port 36401, a repository "denied", a digest.
_NAMED = re.compile(r"\"[^\"]*\"|\bhttps?://\S+|\bsha256:\w+|\b[\d.]+:\d+\b")
_PLAIN_HTTP = ("http response to https client", "first record does not look like a tls handshake")
_SOURCE = re.compile(r"failed to resolve source metadata for (\S+): (.*)", re.S)
_PUSH = re.compile(r"failed to push (\S+): (.*)", re.S)
_PUSH_STEP = re.compile(
    r"(failed to (?:copy|push|authorize|do request)|unexpected status from (?:HEAD|PUT|POST|PATCH))", re.S
)
# BuildKit's executor reports the first for a step that reached the limit of its cgroup. 137 is SIGKILL, nearly always
# sent by the kernel when it runs out of memory.
_NO_MEMORY = re.compile(r"cannot allocate memory|ResourceExhausted|exit code: 137\b")
_DOCKERFILE = re.compile(
    r"dockerfile parse error|failed to read dockerfile|failed to calculate checksum|failed to compute cache key"
    r"|invalid reference format|target stage .* could not be found|failed to parse (?:stage name|platform)"
    r"|file with no instructions|the Dockerfile cannot be empty|excluded by \.dockerignore"
)
_UNSUPPORTED = re.compile("is not supported for the docker driver|does not currently support exporting manifest lists")
_AUDIT = "ohbuild audit: "
_DEBS = "ohbuild debs: "
_PACKAGES = "ohbuild system-packages: "
_PACKAGES_STEP = re.compile(r"\bsystem-packages \d+/\d+\]")
_NO_SHELL = re.compile(r'exec: "/bin/sh": .*(?:no such file|not found|permission denied)', re.I)
_CACHE = re.compile(r"cache (?:importer|exporter|export is not)|(?:ex|im)port(?:ing)? (?:build )?cache", re.I)

_CACHE_EXPORT = re.compile(r"^exporting (?:build )?cache|^sending cache export|^preparing build cache", re.I)


def error_text(progress: Progress) -> str:
    """Returns buildx's final message without the ``ERROR:`` prefix."""
    start = next((i for i in range(len(progress.text)) if progress.text[i].startswith("ERROR:")), None)
    if start is None:
        return "\n".join(progress.text[-5:])
    return "\n".join(progress.text[start:]).removeprefix("ERROR:").strip()


def failed_target(progress: Progress) -> str:
    """Returns the target that made a bake fail; empty if it is not known."""
    found = re.match(r"target ([A-Za-z0-9_-]+): ", error_text(progress))
    name = found[1] if found else next((step.target for step in progress.failed() if step.target), "")
    return name if name in progress.targets else ""


def is_about_cache(progress: Progress) -> bool:
    """Checks whether the build failed only because of its registry cache."""
    return bool(_CACHE.search(error_text(progress))) or any(_CACHE.search(step.name) for step in progress.failed())


def cache_remarks(progress: Progress) -> dict[str, tuple[str, ...]]:
    """Returns what went wrong with writing the cache, by target; such a failure need not fail the build.

    A step without a target counts for the first one.
    """
    found: dict[str, list[str]] = {}
    for step in progress.failed():
        if _CACHE_EXPORT.search(step.name):
            remark = f"the build cache was not written: {_first(step.error)} ({step.name})"
            found.setdefault(step.target or progress.targets[0], []).append(remark)
    return {target: tuple(dict.fromkeys(remarks)) for target, remarks in found.items()}


def without_cache_remark(progress: Progress) -> str:
    """Returns what the user should know about a build that failed because of its cache and is run again without it."""
    return f"built without the cache, which failed: {_first(error_text(progress))}"


def classify(progress: Progress) -> OhbuildError:
    """Returns the error that describes a failed build."""
    text = error_text(progress)
    message = re.sub(r"^(target [\w-]+: )?(failed to build: )?(failed to solve: )*", "", text)
    message = message or "buildx failed without a message"
    step = next((step for step in progress.failed() if step.error and step.error in text), None)
    step = step or next(iter(progress.failed()), None)
    lines = list(step.log) if step else []
    everything = "\n".join([text, *lines]).lower()

    def failed(kind: type[BuildFailed], message: str, hint: str = "", log: Sequence[str] = lines) -> BuildFailed:
        step_name = step.name if step else ""
        return kind(message, hint, step=step_name, place=_place(progress.text), log=log[-_LOG_SHOWN:])

    if step and _BOOTING in step.name:
        hint = "see `docker buildx ls`, and start it with `docker buildx inspect --bootstrap`"
        return NoEngine(f"the builder does not start: {_first(message.removeprefix(_BOOTING).strip(' :'))}", hint)
    if any(sign in text.lower() for sign in _NO_BUILDER) and not lines:
        return NoEngine(
            f"the builder does not respond: {_first(message)}",
            "see `docker buildx ls`, or start one with `ohbuild engine up`",
        )
    if "no space left on device" in everything:
        hint = "free some space with `docker buildx prune` (`docker system df` shows what uses it)"
        return failed(DiskFull, "the disk of the builder or the registry is full", hint)
    audit = [line.partition(_AUDIT)[2] for line in lines if _AUDIT in line]
    if audit:
        more = f" (and {len(audit) - 1} more)" if len(audit) > 1 else ""
        hint = "add what the file needs to the component, or remove the file from it"
        return failed(AuditFailed, f"audit of /openhands failed: {audit[0]}{more}", hint, audit[:_LOG_SHOWN])
    debs = next((line.partition(_DEBS)[2] for line in lines if _DEBS in line), "")
    if debs:
        return failed(BuildFailed, *debs.split("; ", 1))
    if step and _PACKAGES_STEP.search(step.name):
        told = [line.partition(_PACKAGES)[2] for line in lines if _PACKAGES in line]
        if told or _NO_SHELL.search(everything):
            return failed(BuildFailed, *_packages(told, lines))
    found = _SOURCE.search(text)
    if found:
        return _source_error(found[1], found[2])
    found = _PUSH.search(text)
    if found or (step and "exporting" in step.name and _PUSH_STEP.search(text)):
        return _push_error(found[1] if found else "the image", found[2] if found else message)
    if _UNSUPPORTED.search(text):
        hint = "enable Docker's containerd image store, use another builder (--builder), or build for one platform"
        return UsageError(_first(message), hint)
    summary = _first(message)
    if step:
        exit_code = re.search(r"did not complete successfully: (exit code: \d+.*)", message)
        summary = f"{step.name}: {exit_code[1] if exit_code else summary}"
    if _NO_MEMORY.search(message):
        return failed(OutOfMemory, summary, "give the builder more memory, or run fewer builds at once")
    return failed(InvalidDockerfile if _DOCKERFILE.search(message) else BuildFailed, summary)


def _packages(told: Sequence[str], lines: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """Returns message, hint and log from the output of dockerfiles/system-packages/install, or why it did not start."""
    if not told:
        hint = "remove system_packages for this base, or use a variant of it with a shell and a package manager"
        return "system packages cannot be installed: the base has no shell (/bin/sh)", hint, ()
    base, _, reason = told[-1].partition(": ")
    message = f"system packages for {base.partition('@')[0]}: {reason}"
    if " failed with exit code " in reason:
        hint = "check the output above, the package's name in this distribution, and whether its mirror can be reached"
        return message, hint, lines
    return message, "remove system_packages for this base, and install the packages in your own base", ()


def _source_error(image: str, reason: str) -> OhbuildError:
    if any(sign in reason.lower() for sign in _UNREACHABLE):
        return RegistryError(
            f"the registry of {image} cannot be reached: {_first(reason)}",
            "check the network, or add the image to the engine's registry with `ohbuild engine seed`",
        )
    if "no match for platform" in reason or "not found" in reason or "denied" in reason:
        return ImageNotFound(
            f"{image}: {_first(reason)}", "check the name and tag; private images require `docker login`"
        )
    return RegistryError(f"{image}: {_first(reason)}")


def _push_error(image: str, reason: str) -> RegistryError:
    lower = reason.lower()
    host = image.partition("/")[0] if "/" in image else ""
    kind = RegistryError
    if _REFUSED.search(_NAMED.sub("", reason.replace(image, ""))):
        kind = RegistryRefused
        hint = f"log in with `docker login {host}`, and check that you are allowed to push there"
    elif any(sign in lower for sign in _PLAIN_HTTP):
        hint = f"add {host}, which uses plain HTTP, to the builder's insecure registries"
    elif any(sign in lower for sign in _UNREACHABLE) and host in ("", "docker.io"):
        hint = "check the network, or choose a registry that can be reached with --image"
    elif any(sign in lower for sign in _UNREACHABLE):
        hint = f"check that the registry {host} is running; see `ohbuild engine status` for ohbuild's own"
    else:
        hint = "check the registry's log"
    return kind(f"pushing {image} failed: {_first(reason)}", hint)


def _place(text: Sequence[str]) -> Place | None:
    """Returns the line (``Dockerfile.deps:23``) of the excerpt that buildx prints below the progress."""
    found = (re.fullmatch(r"([\w./-]*Dockerfile[\w.-]*):(\d+)", line) for line in text)
    return next((Place(match[1], int(match[2])) for match in found if match), None)


def _first(text: str) -> str:
    return text.strip().splitlines()[0][:400] if text.strip() else ""
