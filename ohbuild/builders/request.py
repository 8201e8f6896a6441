"""What ``build()`` is given → a checked request, or all that is wrong with it. Nothing is started here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ohbuild.components.arguments import holds_secret, looks_secret
from ohbuild.errors import InvalidReference, OhbuildError, UsageError, nearest, together
from ohbuild.images.platform import Platform, parse_platforms
from ohbuild.images.reference import ImageRef

T = TypeVar("T")

# `docker buildx build --help` of buildx 0.29: options with a value, options without, and what the builder decides.
_VALUED = (
    "add-host", "allow", "annotation", "attest", "build-arg", "build-context", "cache-from", "cache-to",
    "cgroup-parent", "file", "label", "network", "no-cache-filter", "provenance", "sbom", "secret", "shm-size", "ssh",
    "target", "ulimit",
)  # fmt: skip
_FLAGS = ("no-cache", "pull")
_DECIDED = {
    "tag": "give it in `tags`",
    "platform": "give it as `platform`",
    "builder": "give it to the RuntimeBuilder (builder=…)",
    "output": "give it to the RuntimeBuilder (push=…, load=…)",
    "push": "give it to the RuntimeBuilder (push=…)",
    "load": "give it to the RuntimeBuilder (load=…)",
    **dict.fromkeys(("progress", "metadata-file", "iidfile", "quiet", "call", "check", "debug"), "leave it out"),
}
_SHORT = {"-f": "--file", "-t": "--tag", "-o": "--output", "-q": "--quiet", "-D": "--debug"}

# Predefined by BuildKit, which keeps their values out of history and cache: a log-in in them stays with the builder.
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """A build that can be tried.

    Args:
        folder: the context.
        tags: complete (with a tag each), without doubles, in the order given; the first is the name to be used.
        platforms: empty for the builder's own.
        options: of ``docker buildx build``, each in one word (``--name=value``).
    """

    folder: Path
    tags: tuple[ImageRef, ...]
    platforms: tuple[Platform, ...] = ()
    options: tuple[str, ...] = ()

    def says(self, option: str) -> bool:
        """Whether the caller gave an option (without ``--``)."""
        return any(word == f"--{option}" or word.startswith(f"--{option}=") for word in self.options)


def check_request(
    path: str | os.PathLike[str],
    tags: Sequence[str],
    platform: str | None = None,
    extra_build_args: Sequence[str] | None = None,
) -> BuildRequest:
    """Check what ``RuntimeBuilder.build`` was given.

    Raises:
        UsageError: no folder or no Dockerfile in it; a tag, the platform or an option that is none; an option that the
            builder decides; a build argument that holds a secret. All of them in one ``SeveralErrors``.
    """
    _check_types(path, tags, platform, extra_build_args)
    problems: list[OhbuildError] = []

    def found(check: Callable[[], Iterable[T]]) -> tuple[T, ...]:
        try:
            return tuple(check())
        except OhbuildError as error:
            problems.append(error)
            return ()

    options = found(lambda: check_options(extra_build_args or ()))
    references = found(lambda: check_tags(tags))
    platforms = found(lambda: parse_platforms([platform or ""]))
    folder = Path(path)
    problems += _folder_problems(folder, [word for word in options if word.startswith("--file=")])
    if problems:
        raise together("the build was not started", problems)
    return BuildRequest(folder=folder, tags=references, platforms=platforms, options=options)


def _check_types(path: object, tags: object, platform: object, words: object) -> None:
    """A program that does not check its types gets to know what it gave."""
    wanted = (
        ("path", path, "a folder", isinstance(path, str | os.PathLike)),
        ("tags", tags, "a list of texts", _texts(tags)),
        ("platform", platform, "a text or None", platform is None or isinstance(platform, str)),
        ("extra_build_args", words, "a list of texts or None", words is None or _texts(words)),
    )
    for name, value, kind, right in wanted:
        if not right:
            raise UsageError(f"{name} is {value!r}", f"give {kind}")


def _texts(value: object) -> bool:
    """Whether it is a list of texts; one text is another mistake, of which is told later."""
    return isinstance(value, str | list | tuple) and all(isinstance(item, str) for item in value)


def check_tags(tags: Sequence[str]) -> list[ImageRef]:
    """The names of an image, complete and each once.

    Raises:
        InvalidReference: one is no reference, or has a digest.
        UsageError: there is none.
    """
    if isinstance(tags, str):
        raise UsageError(f"tags is the text {tags!r}, not a list", f"give [{tags!r}]")
    if not tags:
        raise UsageError(
            "no tag was given: the image would have no name",
            "give at least one; OpenHands leaves out those that are there already, also when it forces a rebuild",
        )
    found: dict[str, ImageRef] = {}
    for tag in tags:
        reference = ImageRef.parse(tag)
        if reference.digest:
            raise InvalidReference(f"the tag {tag!r} has a digest, which an image gets by being built", "leave it out")
        reference = reference.tagged(reference.tag or "latest")
        found.setdefault(reference.canonical, reference)
    return list(found.values())


def check_options(words: Sequence[str]) -> tuple[str, ...]:
    """Options of ``docker buildx build``, each in one word.

    Raises:
        UsageError: one is unknown, lacks its value, is the builder's to decide, or holds a secret.
    """
    if isinstance(words, str):
        raise UsageError(f"extra_build_args is the text {words!r}, not a list", f"give {words.split()!r}")
    return tuple(_options(iter(words)))


def _options(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if not name.startswith("--"):
            meant = f"--build-arg={word}" if re.fullmatch(r"[A-Za-z_]\w*", name) and equals else "--NAME=VALUE"
            raise UsageError(f"{word!r} is not an option of `docker buildx build`", f"write {meant}")
        name = name.removeprefix("--")
        if name in _DECIDED:
            raise UsageError(f"--{name} cannot be given in extra_build_args", _DECIDED[name])
        if name in _FLAGS:
            yield word
            continue
        if name not in _VALUED:
            raise UsageError(
                f"`docker buildx build` has no option {f'--{name}'!r}",
                "write option and value as two words, or with '='" if " " in name else nearest(name, _VALUED + _FLAGS),
            )
        if not equals:
            value = next(words, "")
            if not value or value.startswith("--"):
                raise UsageError(f"the option --{name} has no value", f"write --{name}=VALUE")
        if name == "build-arg":
            check_build_arg(value)
        yield f"--{name}={value}"


def check_build_arg(text: str) -> None:
    """A build argument, ``NAME=VALUE`` or ``NAME`` (then its value comes from the environment).

    Raises:
        UsageError: it is malformed, or looks like a secret, which everybody could read in the image's history.
    """
    name, equals, value = text.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"--build-arg {text!r}: {name!r} is not a name", "write --build-arg=NAME=VALUE")
    if not equals:
        value = os.environ.get(name, "")
    if name.lower() not in _PROXIES and ((looks_secret(name) and value) or holds_secret(value)):
        raise UsageError(  # without the value: errors end in logs
            f"the build argument {name} looks like a secret, and would be readable in the image's history",
            f"hand it over as a secret: --secret=id={name.lower()},env={name}, "
            f"and RUN --mount=type=secret,id={name.lower()} in the Dockerfile",
        )


def _folder_problems(folder: Path, files: Sequence[str]) -> list[OhbuildError]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        return [UsageError(f"the build context {folder} {what}", "give the folder that has the Dockerfile")]
    dockerfile = Path(files[-1].partition("=")[2]) if files else folder / "Dockerfile"
    try:
        with dockerfile.open("rb"):
            return []
    except FileNotFoundError:
        return [UsageError(f"there is no {dockerfile.name} in {dockerfile.parent}", "write one, or give its folder")]
    except OSError as error:
        return [UsageError(f"{dockerfile} cannot be read: {error.strerror}", "see its mode and owner")]
