"""The tags of runtime images, in OpenHands' format. All functions except those reading the repository are pure.

Tags of OpenHands 1.6.0 do not depend on the platform, build arguments, extra dependencies or the base's digest, so that
a stale or unrelated image is mistaken for the requested one. Its functions also fail for registries with a port, and
return the same tag for different long or upper-case names. Whenever OpenHands' function returns a correct result, the
function of the same name in this module returns the same.
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
# Longest tag: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_LIMIT = 128
# OpenHands' own limits.
_LONG_REPOSITORY = 32
_KEPT_OF_REPOSITORY = 24
_VERSIONED_LIMIT = 96
_ALPHABET = string.digits + string.ascii_lowercase


class BuildFromImageType(Enum):
    """What a new image can reuse: OpenHands' enum, extended by ``DEPS``.

    In OpenHands, the value selects an older image to build on. In ohbuild, the resulting image does not depend on it:
    BuildKit's cache finds all steps whose inputs are unchanged. Images are never built on older ones, so that layers do
    not accumulate and nothing stale is included.

    Attributes:
        SCRATCH: No related image exists. The new image gets all three tags.
        VERSIONED: An image with the same base, release and variant exists, but with other locks. The new image does not
            get its versioned tag.
        LOCK: An image with the same locks exists. The new image gets neither its lock tag nor its versioned tag.
        DEPS: The layers of an existing deps image are used.
    """

    SCRATCH = "scratch"
    VERSIONED = "versioned"
    LOCK = "lock"
    DEPS = "deps"


@dataclass(frozen=True, kw_only=True)
class ImageContent:
    """Everything that determines the content of a runtime image.

    The order of ``platforms``, ``plugins`` and mappings does not matter.

    Attributes:
        base: Base as given by the user.
        digest: Digest of the base if its registry has reported it.
        platforms: Platforms of the image.
        components: Version of each component in the image, by its name.
        plugins: Requested agent plug-ins; ``None`` if not specified.
        enable_browser: Whether the image contains a browser.
        extra_deps: Shell commands that run at the end of the build.
        build_args: Build arguments of components.
        extra_build_args: Options for the builder, in their order.
        deps_image: Deps image that is used, with its digest if known; empty for none.
        locks: SHA-256 (hex) of each lock file, by its name.
        source: Key of the image from ``ohbuild.bake.render``: the SHA-256 (hex) of everything it is built from.
        openhands: OpenHands release of the server.
        version: Version of ohbuild.
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

    Attributes:
        source: ``oh_v1.6.0_<lock>_<source>``, unique for each image: it depends on everything the image is built from.
        lock: ``oh_v1.6.0_<lock>``, which depends on the wanted content and the locks.
        versioned: ``oh_v1.6.0_<base>_<variant>``, which depends on the wanted content only, with the base by its name.
    """

    source: str
    lock: str
    versioned: str


def make_tags(content: ImageContent) -> Tags:
    """Returns the tags of an image. They are always valid and depend only on its content."""
    variant = {
        "openhands": content.openhands,
        "platforms": sorted({str(platform) for platform in content.platforms}),
        "components": sorted(content.components),
        "plugins": None if content.plugins is None else sorted(set(content.plugins)),
        "enable_browser": content.enable_browser,
        "extra_deps": content.extra_deps,
        "build_args": dict(content.build_args),
        "extra_build_args": list(content.extra_build_args),
        "deps": bool(content.deps_image),
    }
    lock = {
        **variant,
        "version": content.version,
        "components": dict(content.components),
        "base": content.base.pinned(content.digest or content.base.digest).canonical,
        "deps": content.deps_image,
        "locks": dict(content.locks),
    }
    prefix = "oh_v" + re.sub(r"[^A-Za-z0-9_.-]", "-", content.openhands)[:32]
    lock_tag = f"{prefix}_{_digest(lock)}"
    end = f"_{_digest({**variant, 'base': content.base.canonical})}"
    name = content.base.slug(_LIMIT - len(prefix) - 1 - len(end))
    return Tags(
        source=f"{lock_tag}_{_digest({**lock, 'source': content.source})}",
        lock=lock_tag,
        versioned=f"{prefix}_{name}{end}",
    )


def get_runtime_image_repo() -> str:
    """Returns the repository for runtime images.

    This is the value of the variable ``OH_RUNTIME_RUNTIME_IMAGE_REPO``, or OpenHands' ``ghcr.io/openhands/runtime``.

    Raises:
        InvalidSetting: The value is not a valid repository.
    """
    text = os.getenv(REPOSITORY_VARIABLE) or _REPOSITORY
    try:
        reference = ImageRef.parse(text)
    except InvalidReference as error:
        raise InvalidSetting(f"environment {REPOSITORY_VARIABLE}: {error.message}", error.hint) from error
    if reference.tag or reference.digest:
        message = f"environment {REPOSITORY_VARIABLE}: {text!r} has a tag or a digest"
        raise InvalidSetting(message, "set it to a repository without them")
    return text


def get_runtime_image_repo_and_tag(base_image: str) -> tuple[str, str]:
    """Returns the repository and a tag for the runtime image of a base, derived only from the base's name.

    An image in the repository for runtime images is already one: its own repository and tag are returned.

    Args:
        base_image: Reference of the base.

    Raises:
        InvalidReference: ``base_image`` is not a valid image reference.
        InvalidSetting: The variable ``OH_RUNTIME_RUNTIME_IMAGE_REPO`` is not a valid repository.
    """
    reference = ImageRef.parse(base_image)
    repository = get_runtime_image_repo()
    name, tag = base_image.partition("@")[0].removesuffix(f":{reference.tag}"), reference.tag or "latest"
    if not reference.digest and reference.repository == ImageRef.parse(repository).repository:
        return name, tag
    # OpenHands' function fails, or returns an invalid or ambiguous tag.
    plain = f"{name.replace('/', '_s_')}_tag_{tag}"
    if reference.digest or ":" in name or not _one_reading(plain, {"_s_": name.count("/"), "_tag_": 1}):
        return repository, _hashed(f"oh_v{VERSION}_image_", reference)
    if len(name) > _LONG_REPOSITORY:
        head, kept = name[:-_KEPT_OF_REPOSITORY], name[-_KEPT_OF_REPOSITORY:]
        name = f"{_md5(head)[:8]}_{kept}"
    tag = f"oh_v{VERSION}_image_{name.replace('/', '_s_')}_tag_{tag}"
    return repository, tag if len(tag) <= _LIMIT else f"oh_v{VERSION}_image_{_md5(tag)}"


def get_tag_for_versioned_image(base_image: str) -> str:
    """Returns the part of a tag that identifies a base, at most 96 characters long.

    Args:
        base_image: Reference of the base.

    Raises:
        InvalidReference: ``base_image`` is not a valid image reference.
    """
    reference = ImageRef.parse(base_image)
    text = base_image.replace("/", "_s_").replace(":", "_t_")
    odd = reference.digest or "[" in text or text != text.lower() or len(text) > _VERSIONED_LIMIT
    if odd or not _one_reading(text, {"_s_": base_image.count("/"), "_t_": base_image.count(":")}):
        return _hashed("", reference, _VERSIONED_LIMIT)
    return text


def truncate_hash(hash: str) -> str:
    """Converts a hexadecimal hash to base 36, and returns its last 16 digits in reverse order."""
    value = int(hash, 16)
    digits = ""
    while value and len(digits) < 16:
        value, rest = divmod(value, len(_ALPHABET))
        digits += _ALPHABET[rest]
    return digits


def _one_reading(text: str, marks: Mapping[str, int]) -> bool:
    """Returns whether each mark occurs only as often as it was inserted. A name may contain one too, as in a_s_b."""
    return all(len(re.findall(f"(?={mark})", text)) == count for mark, count in marks.items())


def _hashed(prefix: str, reference: ImageRef, limit: int = _LIMIT) -> str:
    """Returns a tag with part of the base's name and a hash. Tags without a hash never contain ``-_``."""
    end = "-_" + truncate_hash(hashlib.sha256(reference.canonical.encode()).hexdigest())
    words = re.sub(r"[^a-z0-9]+", "-", f"{reference.repository}-{reference.tag}".lower()).strip("-")
    return prefix + words[: limit - len(prefix) - len(end)].rstrip("-") + end


def _digest(content: Mapping[str, object]) -> str:
    """Returns the SHA-256 of a JSON object, shortened to 16 digits in base 36 (82 bits)."""
    text = json.dumps(content, sort_keys=True)
    return truncate_hash(hashlib.sha256(text.encode()).hexdigest()).ljust(16, "0")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
