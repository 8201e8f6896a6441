"""Image references, parsed as Docker does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ohbuild.errors import InvalidReference, UsageError
from ohbuild.text import split_list

# The grammar of github.com/distribution/reference (reference.go, regexp.go), anchored and ASCII.
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
_DOMAIN = re.compile(rf"{_HOST}(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
REPOSITORY = (
    rf"(?:(?=localhost/|[^/]*[.:]){_DOMAIN.pattern}/)?{_COMPONENT.pattern}(?:/{_COMPONENT.pattern})*"  # see _split
)
PATTERN = rf"{REPOSITORY}(?::{_TAG.pattern})?(?:@{_DIGEST.pattern})?"
"""Matches all that ``ImageRef.parse`` accepts, for JSON Schema; ``REPOSITORY`` is the part before tag and digest."""
DOCKER_HUB = "docker.io"
_NAME_LIMIT = 255


@dataclass(frozen=True, order=True)
class ImageRef:
    """A reference to an image: registry host, path, and a tag, a digest, both or neither.

    ``str()`` returns the familiar form, such as ``debian:trixie``.

    Attributes:
        registry: Registry host, with its port if given; always set (``docker.io``).
        path: Path in the registry; always complete (``library/debian``).
        tag: Tag; empty if not given.
        digest: Digest, such as ``sha256:…``; empty if not given.
    """

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Parses a reference as ``docker pull`` does.

        Raises:
            InvalidReference: The text does not follow the grammar; the hint shows how to fix it.
        """
        shown = repr(text)
        if not text or text != text.strip() or any(character.isspace() or ord(character) < 32 for character in text):
            raise InvalidReference(f"{shown} is not an image reference", "use name:tag without spaces: debian:trixie")
        if "://" in text:
            raise InvalidReference(f"{shown} is a URL, not an image reference", "remove the part up to '://'")
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise InvalidReference(
                f"{shown} has an invalid digest after '@'", "use a digest of sha256: and 64 hexadecimal digits"
            )
        if digest.startswith("sha256:") and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise InvalidReference(f"{shown} has an invalid sha256 digest", "use 64 lowercase hexadecimal digits")
        head, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise InvalidReference(
                f"{shown} has an invalid tag {tag!r}",
                "use a tag of at most 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'",
            )
        registry, path = cls._split(head + slash + last)
        for component in path.split("/"):
            if not _COMPONENT.fullmatch(component):
                raise InvalidReference(
                    f"{shown} has an invalid repository name {path!r}", _name_hint(text, path, component)
                )
        if registry != DOCKER_HUB and not _DOMAIN.fullmatch(registry):
            raise InvalidReference(f"{shown} has an invalid registry host {registry!r}", "use host or host:port")
        if path == "library/scratch" and registry == DOCKER_HUB:
            raise InvalidReference("'scratch' is not an image", "use a base with an operating system")
        if len(registry) + 1 + len(path) > _NAME_LIMIT:
            raise InvalidReference(f"the name of {shown} is longer than {_NAME_LIMIT} characters", "shorten it")
        return cls(registry, path, tag, digest)

    @staticmethod
    def _split(name: str) -> tuple[str, str]:
        first, slash, path = name.partition("/")
        # Newer Docker versions also take an uppercase first part as a host. We do not: it is nearly always a typo.
        if not slash or not ("." in first or ":" in first or first == "localhost"):
            first, path = DOCKER_HUB, name
        if first in ("index.docker.io", "registry-1.docker.io"):
            first = DOCKER_HUB
        if first == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return first, path

    @property
    def on_docker_hub(self) -> bool:
        """Whether the registry is Docker Hub."""
        return self.registry == DOCKER_HUB

    @property
    def repository(self) -> str:
        """Registry and path; the familiar short form for Docker Hub."""
        return self.path.removeprefix("library/") if self.on_docker_hub else f"{self.registry}/{self.path}"

    @property
    def canonical(self) -> str:
        """The complete form, which is the same for all spellings of a reference."""
        tag = self.tag or ("" if self.digest else "latest")
        return f"{self.registry}/{self.path}" + (f":{tag}" if tag else "") + (f"@{self.digest}" if self.digest else "")

    def pinned(self, digest: str) -> ImageRef:
        """Returns the same reference with this digest."""
        return ImageRef(self.registry, self.path, self.tag, digest)

    def tagged(self, tag: str) -> ImageRef:
        """Returns the same repository with another tag and no digest.

        Raises:
            InvalidReference: The tag is invalid.
        """
        if not _TAG.fullmatch(tag):
            raise InvalidReference(f"invalid tag {tag!r}")
        return ImageRef(self.registry, self.path, tag)

    def __str__(self) -> str:
        """Returns the familiar form."""
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def slug(self, limit: int = 100) -> str:
        """Returns a part of a tag that is unique to this reference.

        ``debian:trixie`` gives ``debian-trixie``. Eight digits of a hash are appended if joining the parts with ``-``
        is ambiguous, or if the text is too long. The result depends on the reference alone, so that a base has the
        same tag in every run.

        Args:
            limit: Maximum length in characters.
        """
        # A tag must not begin with "-", as "::" of an IPv6 address becomes.
        words = re.sub("[/:]", "-", re.sub(r"[][]", "", self.repository)).lstrip("-")
        tag = self.tag or ("" if self.digest else "latest")
        text = f"{words}-{tag}" if tag else words
        plain = self.on_docker_hub and "-" not in words and "/" not in self.repository and not self.digest
        if plain and len(text) <= limit:
            return text
        return f"{text[: limit - 9].rstrip('-.')}-{short_hash(self.canonical)}"


def _name_hint(text: str, path: str, component: str) -> str:
    lower = path.lower()
    if path != lower and all(_COMPONENT.fullmatch(part) for part in lower.split("/")):
        fixed = text.replace(path.removeprefix("library/"), lower.removeprefix("library/"), 1)
        return f"repository names are lowercase: perhaps you meant {fixed!r}"
    if not component:
        return "remove the empty part between two '/'"
    return "use lowercase letters and digits, separated by '.', '_', '__', '-' or '/'"


def parse_references(texts: Iterable[str]) -> list[ImageRef]:
    """Parses the images of a command line.

    Args:
        texts: Arguments. Each may hold several images (``ohbuild.text.list_items``).

    Raises:
        InvalidReference: One is not a reference.
        UsageError: There is none: an empty variable must not pass as nothing to do.
    """
    found = [ImageRef.parse(text) for text in split_list(*texts)]
    if not found:
        raise UsageError("no image is named", "name an image such as ghcr.io/name/runtime:debian-trixie")
    return found


def short_hash(text: str) -> str:
    """Returns the first eight hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
