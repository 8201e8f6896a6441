"""Validates the arguments of ``RuntimeBuilder.build`` before anything is started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ohbuild.components.secrets import secret_problem
from ohbuild.errors import InvalidReference, OhbuildError, UsageError, nearest, together
from ohbuild.images.platform import Platform, parse_platforms
from ohbuild.images.reference import ImageRef

T = TypeVar("T")

# `docker buildx build --help` of buildx 0.29: options with a value, options without, and those set by the builder.
_VALUED = (
    "add-host", "allow", "annotation", "attest", "build-arg", "build-context", "cache-from", "cache-to",
    "cgroup-parent", "file", "label", "network", "no-cache-filter", "provenance", "sbom", "secret", "shm-size", "ssh",
    "target", "ulimit",
)  # fmt: skip
_FLAGS = ("no-cache", "pull")
_DECIDED = {
    "tag": "use the argument `tags`",
    "platform": "use the argument `platform`",
    "builder": "create the RuntimeBuilder with builder=…",
    "output": "create the RuntimeBuilder with push=… or load=…",
    "push": "create the RuntimeBuilder with push=…",
    "load": "create the RuntimeBuilder with load=…",
    **dict.fromkeys(("progress", "metadata-file", "iidfile", "quiet", "call", "check", "debug"), "remove it"),
}
_SHORT = {"-f": "--file", "-t": "--tag", "-o": "--output", "-q": "--quiet", "-D": "--debug"}


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """A validated build.

    Attributes:
        folder: Absolute path of the build context.
        tags: Names of the image, each with a tag, in the given order and without duplicates. The first is returned to
            the caller.
        platforms: Platforms of the image; empty for the builder's own.
        options: Options for ``docker buildx build``, each as one word (``--name=value``).
    """

    folder: Path
    tags: tuple[ImageRef, ...]
    platforms: tuple[Platform, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def build_args(self) -> list[tuple[str, str]]:
        """The build arguments with their values."""
        return [_argument(word.partition("=")[2]) for word in self.options if word.startswith("--build-arg=")]

    def says(self, option: str) -> bool:
        """Returns whether an option is set.

        Args:
            option: Name of the option without ``--``.
        """
        return any(word == f"--{option}" or word.startswith(f"--{option}=") for word in self.options)


def check_request(
    path: str | os.PathLike[str],
    tags: Sequence[str],
    platform: str | None = None,
    extra_build_args: Sequence[str] | None = None,
    *,
    allow_secret_args: bool = False,
) -> BuildRequest:
    """Validates the arguments of ``RuntimeBuilder.build``.

    Args:
        path: Build context.
        tags: Names of the image.
        platform: Platform, or several separated by commas.
        extra_build_args: Options for ``docker buildx build``.
        allow_secret_args: Whether build arguments may hold secrets.

    Raises:
        UsageError: The folder or its Dockerfile is missing; a tag, the platform or an option is invalid; an option is
            set by the builder; or a build argument contains a secret. Several are raised as one ``SeveralErrors``.
    """
    _check_types(path, tags, platform, extra_build_args)
    problems: list[OhbuildError] = []

    def found(check: Callable[[], Iterable[T]]) -> tuple[T, ...]:
        try:
            return tuple(check())
        except OhbuildError as error:
            problems.append(error)
            return ()

    options = found(lambda: check_options(extra_build_args or (), allow_secret_args=allow_secret_args))
    references = found(lambda: check_tags(tags))
    platforms = found(lambda: parse_platforms([platform or ""]))
    folder = Path(path)
    problems += _folder_problems(folder, [word for word in options if word.startswith("--file=")])
    if problems:
        raise together("invalid build request", problems)
    # An absolute path is neither an option ("-x") nor a URL or a Git repository ("git@x:y") to buildx.
    options = tuple(_absolute_file(word) for word in options)
    return BuildRequest(folder=folder.absolute(), tags=references, platforms=platforms, options=options)


def _absolute_file(word: str) -> str:
    name, _, value = word.partition("=")
    return f"{name}={Path(value).absolute()}" if name == "--file" else word


def _check_types(path: object, tags: object, platform: object, words: object) -> None:
    """Reports values of a wrong type, as callers may not use a type checker."""
    wanted = (
        ("path", path, "a path", isinstance(path, str | os.PathLike)),
        ("tags", tags, "a list of strings", _texts(tags)),
        ("platform", platform, "a string or None", platform is None or isinstance(platform, str)),
        ("extra_build_args", words, "a list of strings or None", words is None or _texts(words)),
    )
    for name, value, kind, right in wanted:
        if not right:
            raise UsageError(f"{name}: {value!r} has the wrong type", f"pass {kind}")


def _texts(value: object) -> bool:
    """Returns whether this is a list of strings. A single string is accepted here and reported later."""
    return isinstance(value, str | list | tuple) and all(isinstance(item, str) for item in value)


def check_tags(tags: Sequence[str]) -> list[ImageRef]:
    """Returns the names of an image with their tags (``latest`` by default), without duplicates.

    Raises:
        InvalidReference: A name is invalid or contains a digest.
        UsageError: The list is empty.
    """
    if isinstance(tags, str):
        raise UsageError(f"tags: the string {tags!r} is not a list", f"pass [{tags!r}]")
    if not tags:
        raise UsageError(
            "tags is empty: the image would have no name",
            "pass at least one tag; OpenHands omits tags that already exist, even for a forced rebuild",
        )
    found: dict[str, ImageRef] = {}
    for tag in tags:
        reference = ImageRef.parse(tag)
        if reference.digest:
            raise InvalidReference(f"tag {tag!r} has a digest: it is not known before the build", "remove the digest")
        reference = reference.tagged(reference.tag or "latest")
        found.setdefault(reference.canonical, reference)
    return list(found.values())


def check_options(words: Sequence[str], *, allow_secret_args: bool = False) -> tuple[str, ...]:
    """Validates options for ``docker buildx build`` and returns each as one word.

    Args:
        words: The options.
        allow_secret_args: Whether build arguments may hold secrets.

    Raises:
        UsageError: An option is unknown, has no value, is set by the builder, or contains a secret.
    """
    if isinstance(words, str):
        raise UsageError(f"extra_build_args: the string {words!r} is not a list", f"pass {words.split()!r}")
    return tuple(_options(iter(words), allow_secret_args))


def _options(words: Iterator[str], allow_secret_args: bool) -> Iterator[str]:
    for word in words:
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if not name.startswith("--"):
            meant = f"--build-arg={word}" if re.fullmatch(r"[A-Za-z_]\w*", name) and equals else "--NAME=VALUE"
            raise UsageError(f"{word!r} is not an option of `docker buildx build`", f"use {meant}")
        name = name.removeprefix("--")
        if name in _DECIDED:
            raise UsageError(f"--{name} is not supported in extra_build_args", _DECIDED[name])
        if name in _FLAGS:
            yield word
            continue
        if name not in _VALUED:
            raise UsageError(
                f"`docker buildx build` has no option {f'--{name}'!r}",
                "pass the option and its value separately, or join them with '='"
                if " " in name
                else nearest(name, _VALUED + _FLAGS),
            )
        if not equals:
            value = next(words, "")
            if not value or value.startswith("--"):
                raise UsageError(f"option --{name} has no value", f"use --{name}=VALUE")
        if name == "build-arg":
            check_build_arg(value, allow_secret_args=allow_secret_args)
        yield f"--{name}={value}"


def check_build_arg(text: str, *, allow_secret_args: bool = False) -> None:
    """Validates a build argument.

    Args:
        text: ``NAME=VALUE``, or ``NAME`` to take the value from the environment.
        allow_secret_args: Whether the value may be a secret.

    Raises:
        UsageError: The argument is malformed, or certainly holds a secret, which would be readable in the image's
            history.
    """
    name, value = _argument(text)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"--build-arg {text!r}: invalid name {name!r}", "use --build-arg=NAME=VALUE")
    if not allow_secret_args and (problem := secret_problem(name, value)):
        raise UsageError(
            problem[0],
            f"pass it as a secret: --secret=id={name.lower()},env={name}, and RUN --mount=type=secret,id={name.lower()}"
            " in the Dockerfile; or set allow_secret_args",
        )


def _argument(text: str) -> tuple[str, str]:
    """Returns name and value of a build argument. Without ``=``, the value is that of the environment variable."""
    name, equals, value = text.partition("=")
    return name, value if equals else os.environ.get(name, "")


def _folder_problems(folder: Path, files: Sequence[str]) -> list[OhbuildError]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        return [UsageError(f"build context {folder} {what}", "pass the folder that contains the Dockerfile")]
    dockerfile = Path(files[-1].partition("=")[2]) if files else folder / "Dockerfile"
    try:
        with dockerfile.open("rb"):
            return []
    except FileNotFoundError:
        hint = "create it, or pass the folder that contains it"
        return [UsageError(f"no {dockerfile.name} found in {dockerfile.parent}", hint)]
    except OSError as error:
        return [UsageError(f"{dockerfile} cannot be read: {error.strerror}", "check its owner and mode")]
