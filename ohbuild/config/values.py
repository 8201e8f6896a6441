"""The values of settings: how each type is read, checked and described in JSON Schema."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from ohbuild.components.arguments import check_argument, check_snapshot, script_problem
from ohbuild.components.secrets import secret_problem
from ohbuild.config.validation import checked
from ohbuild.images import labels as label
from ohbuild.images import platform, reference
from ohbuild.images.platform import Platform, parse_platforms
from ohbuild.images.reference import ImageRef
from ohbuild.text import list_items

_OFF = ("off", "none", "no", "false")
# What apt, apk, dnf and zypper accept as a package: a name with an optional architecture (apt) or tag (apk) and an
# optional version. It must not end with a minus sign, which means "remove" to apt-get.
_PACKAGE = (
    r"[A-Za-z0-9][A-Za-z0-9+._-]*(?::[a-z0-9]+)?(?:@[A-Za-z0-9_.-]+)?(?:(?:[<>]=?|~=?|=)[A-Za-z0-9.+:~^_*-]+)?(?<!-)"
)


def is_off(value: str) -> bool:
    """Checks whether a cache or CA setting is ``off`` (or empty)."""
    return not value or value in _OFF


def as_list(value: object) -> object:
    """Splits a string into the items of a list; other values are returned unchanged."""
    return list_items(value) if isinstance(value, str) else value


def _platforms(value: object) -> object:
    value = as_list(value)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str | Platform) for item in value):
        raise ValueError("expected a list of platforms (use a list such as ['linux/amd64', 'linux/arm64'])")
    return checked(lambda: parse_platforms(str(item) for item in value))


def _reference(value: object) -> ImageRef:
    if isinstance(value, ImageRef):
        return value
    if not isinstance(value, str):
        raise ValueError("expected an image reference (use a string such as 'debian:trixie')")
    return checked(lambda: ImageRef.parse(value))


def _repository(value: object) -> ImageRef | None:
    """Reads a reference without tag and digest; an empty string becomes ``None``."""
    if value is None or value == "":
        return None
    reference = _reference(value)
    if reference.tag or reference.digest:
        raise ValueError(f"{str(reference)!r} has a tag or a digest (use the repository alone; ohbuild sets the tags)")
    return reference


def _cache(value: str) -> str:
    if "=" in value:
        raise ValueError(f"{value!r} uses buildx's cache syntax (use the registry reference alone, or off)")
    if value != "auto" and not is_off(value):
        _reference(value)
    return value


def _builder(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
        raise ValueError(f"{value!r} is not a valid builder name (see `docker buildx ls`)")
    return value


def _packages(value: object) -> object:
    value = as_list(value)
    for name in value if isinstance(value, list | tuple) else ():
        if isinstance(name, str) and not re.fullmatch(_PACKAGE, name):
            raise ValueError(f"{name!r} is not a package (use a name with an optional version: git, curl=8.*)")
    return value


def _arguments(value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    for name, text in value.items():
        check_argument(name)
        # The setting is declared, and therefore validated, before this one.
        if not info.data.get("allow_secret_args") and (problem := secret_problem(name, text)):
            raise ValueError("{} ({})".format(*problem))
        if not all(character.isprintable() for character in text):
            raise ValueError(f"the value of {name} is not a single line of text: {text!r}")
    return value


def _script(value: str) -> str:
    if problem := script_problem(value):
        raise ValueError(f"{problem} (use shell commands, one per line)")
    return value if value.strip() else ""


def _labels(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not re.fullmatch(r"[\x21-\x7e]+", name) or "=" in name or name.startswith(label.OURS):
            raise ValueError(f"{name!r} is not a valid label name (no spaces, no '=', no {label.OURS}…)")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
            raise ValueError(f"the value of label {name!r} is not valid Unicode")
    return value


def _text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


def _list(item: dict[str, Any], **more: Any) -> WithJsonSchema:
    """JSON Schema of a list, which may be written as one string (``ohbuild.text.list_items``)."""
    return WithJsonSchema({"type": ["array", "string"], "items": item, **more})


REFERENCE = _text(f"^{reference.PATTERN}$")
OPTIONAL_REFERENCE = _text(f"^(?:{reference.PATTERN})?$")
_OPTIONAL_REPOSITORY = _text(f"^(?:{reference.REPOSITORY})?$")
_AS_TEXT = PlainSerializer(lambda value: None if value is None else str(value))

Platforms = Annotated[
    tuple[Platform, ...],
    BeforeValidator(_platforms),
    PlainSerializer(lambda value: [str(item) for item in value]),
    _list(_text(platform.PATTERN), pattern=platform.PATTERN),
]
Reference = Annotated[ImageRef, BeforeValidator(_reference), _AS_TEXT, WithJsonSchema(REFERENCE)]
MaybeReference = Annotated[
    ImageRef | None,
    BeforeValidator(lambda value: None if value is None else _reference(value)),
    _AS_TEXT,
    WithJsonSchema(REFERENCE),
]
Repository = Annotated[ImageRef | None, BeforeValidator(_repository), _AS_TEXT, WithJsonSchema(_OPTIONAL_REPOSITORY)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_list), _list({"type": "string"})]
MaybeNames = Annotated[tuple[str, ...] | None, BeforeValidator(as_list), _list({"type": "string"})]
Packages = Annotated[tuple[str, ...], BeforeValidator(_packages), _list(_text(f"^{_PACKAGE}$"))]
Arguments = Annotated[dict[str, str], AfterValidator(_arguments)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Script = Annotated[str, AfterValidator(_script)]
Snapshot = Annotated[str, AfterValidator(check_snapshot)]
BuilderName = Annotated[str, AfterValidator(_builder)]
# `auto` and the words for off look like references.
Cache = Annotated[str, AfterValidator(_cache), WithJsonSchema(OPTIONAL_REFERENCE)]
Caches = Annotated[tuple[Cache, ...], BeforeValidator(as_list), _list(OPTIONAL_REFERENCE)]
CacheRepository = Annotated[
    str,
    AfterValidator(lambda value: "" if is_off(value) else str(_repository(value))),
    WithJsonSchema(_OPTIONAL_REPOSITORY),
]
