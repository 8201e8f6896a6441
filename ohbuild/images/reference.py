"""Image references, as Docker reads them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ohbuild.errors import InvalidReference

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

    ``registry`` and ``path`` are always complete (``docker.io``, ``library/debian``); ``str()`` is the familiar form.
    """

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Read a reference as ``docker pull`` would.

        Raises:
            InvalidReference: the text does not follow the grammar; the hint says which part and how to fix it.
        """
        shown = repr(text)
        if not text or text != text.strip() or any(character.isspace() or ord(character) < 32 for character in text):
            raise InvalidReference(f"{shown} is not an image reference", "write it like debian:trixie, without spaces")
        if "://" in text:
            raise InvalidReference(f"{shown} is an address, not an image reference", "leave out the part up to ://")
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise InvalidReference(
                f"{shown} has no valid digest after '@'", "a digest is sha256: and 64 hexadecimal digits"
            )
        if digest.startswith("sha256:") and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise InvalidReference(
                f"{shown} has a malformed sha256 digest", "it has 64 hexadecimal digits in lower case"
            )
        head, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise InvalidReference(
                f"{shown} has an invalid tag {tag!r}",
                "a tag has up to 128 letters, digits, '_', '.', '-', not first '.' or '-'",
            )
        registry, path = cls._split(head + slash + last)
        for component in path.split("/"):
            if not _COMPONENT.fullmatch(component):
                raise InvalidReference(
                    f"{shown} has an invalid repository name {path!r}", _name_hint(text, path, component)
                )
        if registry != DOCKER_HUB and not _DOMAIN.fullmatch(registry):
            raise InvalidReference(f"{shown} has an invalid registry host {registry!r}", "write host or host:port")
        if path == "library/scratch" and registry == DOCKER_HUB:
            raise InvalidReference("'scratch' is not an image", "name a base that has an operating system")
        if len(registry) + 1 + len(path) > _NAME_LIMIT:
            raise InvalidReference(f"the name of {shown} is longer than {_NAME_LIMIT} characters", "shorten it")
        return cls(registry, path, tag, digest)

    @staticmethod
    def _split(name: str) -> tuple[str, str]:
        first, slash, path = name.partition("/")
        # Newer Docker also takes an upper-case first part for a host. That is nearly always a typing error: not here.
        if not slash or not ("." in first or ":" in first or first == "localhost"):
            first, path = DOCKER_HUB, name
        if first in ("index.docker.io", "registry-1.docker.io"):
            first = DOCKER_HUB
        if first == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return first, path

    @property
    def on_docker_hub(self) -> bool:
        return self.registry == DOCKER_HUB

    @property
    def repository(self) -> str:
        """Registry and path, in the familiar short form for Docker Hub."""
        return self.path.removeprefix("library/") if self.on_docker_hub else f"{self.registry}/{self.path}"

    @property
    def canonical(self) -> str:
        """The complete form that two spellings of one image share."""
        tag = self.tag or ("" if self.digest else "latest")
        return f"{self.registry}/{self.path}" + (f":{tag}" if tag else "") + (f"@{self.digest}" if self.digest else "")

    def pinned(self, digest: str) -> ImageRef:
        return ImageRef(self.registry, self.path, self.tag, digest)

    def tagged(self, tag: str) -> ImageRef:
        """The same repository with another tag (checked) and no digest."""
        if not _TAG.fullmatch(tag):
            raise InvalidReference(f"invalid tag {tag!r}")
        return ImageRef(self.registry, self.path, tag)

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def slug(self, limit: int = 100) -> str:
        """A piece of a tag that stands for this base and for no other.

        ``debian:trixie`` gives ``debian-trixie``; where joining with ``-`` could make two bases look the same, or the
        text is longer than ``limit``, eight digits of a hash follow. It depends on nothing but the reference, so that
        a base has the same tag in every run.
        """
        words = self.repository.replace("/", "-").replace(":", "-").replace("[", "").replace("]", "")
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
        return f"a repository name has no upper-case letters: perhaps you meant {fixed!r}"
    if not component:
        return "there is an empty part between two '/'"
    return "a repository name has lower-case letters and digits, divided by '.', '_', '__', '-' or '/'"


def short_hash(text: str) -> str:
    """Eight hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
