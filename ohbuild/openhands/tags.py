"""What a runtime image is called: tags that say all that it was made of, in OpenHands' form. Pure.

Tags of OpenHands 1.6.0 leave out platform, build arguments, extra dependencies and the base's digest, so that a stale
or foreign image is taken for the right one; its functions crash on a registry with a port, and make one tag of two for
long or upper-case names. Where they give a right answer, those of the same name here give the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ohbuild.components.openhands import VERSION
from ohbuild.errors import InvalidReference, InvalidSetting
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.version import __version__

REPOSITORY_VARIABLE = "OH_RUNTIME_RUNTIME_IMAGE_REPO"
_REPOSITORY = "ghcr.io/openhands/runtime"
_LIMIT = 128  # of a tag: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_LONG_REPOSITORY = 32  # and other numbers of OpenHands' own
_KEPT_OF_REPOSITORY = 24
_VERSIONED_LIMIT = 96
_ALPHABET = string.digits + string.ascii_lowercase


class BuildFromImageType(Enum):
    """What there was when an image was built, and so how much of the build is done already.

    The image is the same in every case, for BuildKit knows each step again by what goes into it. An older image is
    never the base of a newer one: layers do not pile up, and nothing stale is in it.

    ``SCRATCH``: nothing. What the builder's cache has not is assembled; the image gets all three tags.
    ``VERSIONED``: an image of this base, release and variant, with other locks. Components with the same locks are the
    same steps.
    ``LOCK``: an image with the very same locks. Only what is ohbuild's own is done again.
    ``DEPS``: a ready deps image. Nothing is assembled: its layers are put upon the base's.
    """

    SCRATCH = "scratch"
    VERSIONED = "versioned"
    LOCK = "lock"
    DEPS = "deps"


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that decides what is in a runtime image. The order of what is a set is no matter.

    Args:
        base: as it was given.
        digest: of the base, once a registry was asked.
        components: name → version of each in the image.
        plugins: as OpenHands names them; ``None`` if they were not said.
        extra_deps: shell commands at the end of the build.
        build_args: of the components.
        extra_build_args: options of the builder, in their order.
        deps_image: the ready deps image, if one is used, by digest when known.
        locks: name → SHA-256 of each lock file.
        source: the key that ``ohbuild.bake.render`` gives the image: SHA-256 (hex) over everything that goes in.
        openhands: the release of OpenHands that the server is of.
        version: of ohbuild.
    """

    base: ImageRef
    digest: str = ""
    platforms: tuple[Platform, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] | None = None
    enable_browser: bool = True
    extra_deps: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    extra_build_args: tuple[str, ...] = ()
    deps_image: str = ""
    locks: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    openhands: str = VERSION
    version: str = __version__


@dataclass(frozen=True)
class Tags:
    """The tags of a runtime image.

    Args:
        source: ``oh_v1.6.0_<lock>_<source>``; two images that differ in anything do not share it.
        lock: ``oh_v1.6.0_<lock>``: what was asked for, and the locks.
        versioned: ``oh_v1.6.0_<base>_<variant>``: what was asked for, with whatever locks; the base by its name.
    """

    source: str
    lock: str
    versioned: str


def make_tags(request: Request) -> Tags:
    """The tags of what is asked for. Each is valid, and depends on nothing but the request."""
    variant = {
        "openhands": request.openhands,
        "platforms": sorted({str(platform) for platform in request.platforms}),
        "components": sorted(request.components),
        "plugins": None if request.plugins is None else sorted(set(request.plugins)),
        "enable_browser": request.enable_browser,
        "extra_deps": request.extra_deps,
        "build_args": dict(request.build_args),
        "extra_build_args": list(request.extra_build_args),
        "deps": bool(request.deps_image),
    }
    lock = {
        **variant,
        "version": request.version,
        "components": dict(request.components),
        "base": request.base.pinned(request.digest or request.base.digest).canonical,
        "deps": request.deps_image,
        "locks": dict(request.locks),
    }
    prefix = "oh_v" + re.sub(r"[^A-Za-z0-9_.-]", "-", request.openhands)[:32]
    lock_tag = f"{prefix}_{_digest(lock)}"
    end = f"_{_digest({**variant, 'base': request.base.canonical})}"
    name = request.base.slug(_LIMIT - len(prefix) - 1 - len(end))
    return Tags(
        source=f"{lock_tag}_{_digest({**lock, 'source': request.source})}",
        lock=lock_tag,
        versioned=f"{prefix}_{name}{end}",
    )


def get_runtime_image_repo() -> str:
    """The repository of the runtime images: the variable ``OH_RUNTIME_RUNTIME_IMAGE_REPO``, or OpenHands' own.

    Raises:
        InvalidSetting: the variable is not a repository.
    """
    text = os.getenv(REPOSITORY_VARIABLE) or _REPOSITORY
    try:
        reference = ImageRef.parse(text)
    except InvalidReference as error:
        raise InvalidSetting(f"environment {REPOSITORY_VARIABLE}: {error.message}", error.hint) from error
    if reference.tag or reference.digest:
        raise InvalidSetting(f"environment {REPOSITORY_VARIABLE}: {text!r} has a tag or a digest", "give a repository")
    return text


def get_runtime_image_repo_and_tag(base_image: str) -> tuple[str, str]:
    """Repository and tag of the runtime image for a base, by the base's name alone.

    An image of the runtime repository itself is one already: its own repository and tag come back.

    Raises:
        InvalidReference: ``base_image`` is not an image reference.
        InvalidSetting: as ``get_runtime_image_repo``.
    """
    reference = ImageRef.parse(base_image)
    repository = get_runtime_image_repo()
    name, tag = base_image.partition("@")[0].removesuffix(f":{reference.tag}"), reference.tag or "latest"
    if not reference.digest and reference.repository == ImageRef.parse(repository).repository:
        return name, tag
    # Where their way would crash, make an invalid tag, or make this tag of another base too.
    plain = f"{name.replace('/', '_s_')}_tag_{tag}"
    if reference.digest or ":" in name or not _one_reading(plain, {"_s_": name.count("/"), "_tag_": 1}):
        return repository, _hashed(f"oh_v{VERSION}_image_", reference)
    if len(name) > _LONG_REPOSITORY:
        head, kept = name[:-_KEPT_OF_REPOSITORY], name[-_KEPT_OF_REPOSITORY:]
        name = f"{_md5(head)[:8]}_{kept}"
    tag = f"oh_v{VERSION}_image_{name.replace('/', '_s_')}_tag_{tag}"
    return repository, tag if len(tag) <= _LIMIT else f"oh_v{VERSION}_image_{_md5(tag)}"


def get_tag_for_versioned_image(base_image: str) -> str:
    """A piece of a tag that stands for a base.

    Raises:
        InvalidReference: ``base_image`` is not an image reference.
    """
    reference = ImageRef.parse(base_image)
    text = base_image.replace("/", "_s_").replace(":", "_t_")
    odd = reference.digest or "[" in text or text != text.lower() or len(text) > _VERSIONED_LIMIT
    if odd or not _one_reading(text, {"_s_": base_image.count("/"), "_t_": base_image.count(":")}):
        return _hashed("", reference, _VERSIONED_LIMIT)
    return text


def truncate_hash(hash: str) -> str:
    """The last 16 digits that a hexadecimal hash has in base 36, the very last first."""
    value = int(hash, 16)
    digits = ""
    while value and len(digits) < 16:
        value, rest = divmod(value, len(_ALPHABET))
        digits += _ALPHABET[rest]
    return digits


def _one_reading(text: str, marks: Mapping[str, int]) -> bool:
    """Whether each mark stands as often in a text as it was put there: the name itself may have had it, as in a_s_b."""
    return all(len(re.findall(f"(?={mark})", text)) == count for mark, count in marks.items())


def _hashed(prefix: str, reference: ImageRef, limit: int = _LIMIT) -> str:
    """A tag for a base whose name alone does not make one: what fits of it, and a hash. No plain one has ``-_``."""
    end = "-_" + truncate_hash(hashlib.sha256(reference.canonical.encode()).hexdigest())
    words = re.sub(r"[^a-z0-9]+", "-", f"{reference.repository}-{reference.tag}".lower()).strip("-")
    return prefix + words[: limit - len(prefix) - len(end)].rstrip("-") + end


def _digest(content: Mapping[str, object]) -> str:
    """16 digits (base 36, 82 bits) of the SHA-256 of a content."""
    text = json.dumps(content, sort_keys=True)
    return truncate_hash(hashlib.sha256(text.encode()).hexdigest()).ljust(16, "0")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
