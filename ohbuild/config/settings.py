"""Settings: flags over ``OHBUILD_*`` over ``ohbuild.toml`` or ``[tool.ohbuild]`` over defaults, with their origins."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ohbuild.components.arguments import check_argument, check_snapshot, script_problem
from ohbuild.config.flags import origin as flag_origin
from ohbuild.config.kubernetes import KubernetesOptions
from ohbuild.config.toml import read_toml
from ohbuild.config.validation import checked, message_and_hint
from ohbuild.errors import InvalidSetting, OhbuildError, nearest, together
from ohbuild.images import labels as label
from ohbuild.images.platform import Platform, parse_platforms
from ohbuild.images.reference import ImageRef

ENV_PREFIX = "OHBUILD_"
# OHBUILD_* variables that belong to the private engine, to tests, or to this module.
_OTHER_VARIABLES = re.compile(r"OHBUILD_(ENGINE(_|$)|TEST_|CONFIG$|DEBUG$)")
_OFF = ("off", "none", "no", "false")


def words(value: object) -> object:
    """A string with commas as a list; anything else as it is."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _platforms(value: object) -> object:
    value = words(value)
    if isinstance(value, list | tuple) and all(isinstance(item, str | Platform) for item in value):
        return checked(lambda: parse_platforms(str(item) for item in value))
    return value


def _reference(value: object) -> object:
    return checked(lambda: ImageRef.parse(value)) if isinstance(value, str) else value


def _repository(value: object) -> object:
    """A reference without tag and digest; an empty string stays ``None``."""
    if not isinstance(value, str) or not value:
        return value or None
    reference = checked(lambda: ImageRef.parse(value))
    if reference.tag or reference.digest:
        raise ValueError(f"{value!r} has a tag or a digest; ohbuild chooses the tags, give a repository")
    return reference


def _cache_repository(value: str) -> str:
    return "" if is_off(value) else str(_repository(value))


def _base(value: object) -> object:
    return {"image": value} if isinstance(value, str) else value


# What apt, apk, dnf and zypper call a package: a name, perhaps with an architecture (apt) or a tag (apk), perhaps with
# a version. No minus at the end, by which apt-get understands "remove".
_PACKAGE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9+._-]*(?::[a-z0-9]+)?(?:@[A-Za-z0-9_.-]+)?(?:(?:[<>]=?|~=?|=)[A-Za-z0-9.+:~^_*-]+)?(?<!-)"
)


def _packages(value: object) -> object:
    value = words(value)
    for name in value if isinstance(value, list | tuple) else ():
        if isinstance(name, str) and not _PACKAGE.fullmatch(name):
            raise ValueError(f"{name!r} is not a package (a name, perhaps with a version: git, curl=8.*)")
    return value


def _arguments(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        check_argument(name, text)
        if not all(character.isprintable() for character in text):
            raise ValueError(f"the value of {name} is not one line of text: {text!r}")
    return value


def _script(value: str) -> str:
    if problem := script_problem(value):
        raise ValueError(f"{problem} (write shell commands, one a line)")
    return value if value.strip() else ""


_AsText = PlainSerializer(lambda value: None if value is None else str(value))
Platforms = Annotated[
    tuple[Platform, ...],
    NoDecode,
    BeforeValidator(_platforms),
    PlainSerializer(lambda value: [str(item) for item in value]),
]
Reference = Annotated[ImageRef, NoDecode, BeforeValidator(_reference), _AsText]
Repository = Annotated[ImageRef | None, BeforeValidator(_repository), _AsText]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(words)]
MaybeNames = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(words)]

Arguments = Annotated[dict[str, str], AfterValidator(_arguments)]
Script = Annotated[str, AfterValidator(_script)]
Packages = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_packages)]


class BaseSetting(BaseModel):
    """A base: a plain reference, or a table ``{image, platforms, system_packages}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: Reference
    platforms: Platforms = ()
    system_packages: Packages = ()


Bases = Annotated[tuple[Annotated[BaseSetting, BeforeValidator(_base)], ...], NoDecode, BeforeValidator(words)]


# What the file says while `load` reads the settings.
_FILE: ContextVar[dict[str, Any]] = ContextVar("file", default={})  # noqa: B039 — nobody writes to it


class Settings(BaseSettings):
    """Every setting. The descriptions are shown by ``ohbuild config``."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, validate_default=False)

    bases: Bases = Field(
        (), description="bases to make runtime images for: references or tables {image, platforms, system_packages}"
    )
    platforms: Platforms = Field((), description="platforms to build; this machine's if empty")
    components: Names = Field((), description="components of /openhands, with all they require; empty means all")
    requirements: MaybeNames = Field(
        None,
        description="OpenHands' plug-ins (agent_skills, jupyter, vscode, …) that the images are for: then they have "
        "the server and what serves these, instead of all components",
    )
    enable_browser: bool = Field(
        True, description="whether the agent is to have a browser; without, the images are smaller"
    )
    build_args: Arguments = Field(default_factory=dict, description="values for build arguments of components")
    extra_deps: Script = Field(
        "", description="shell commands that are run as root in every base, last ($OH_INTERPRETER_PATH is our Python)"
    )
    system_packages: Packages = Field(
        (), description="packages of the base's own distribution to install into every base, besides its own list"
    )
    build_image: Reference = Field(
        ImageRef("docker.io", "library/debian", "trixie"), description="the image that the components are assembled in"
    )
    debian_snapshot: Annotated[str, AfterValidator(check_snapshot)] = Field(
        "",
        description="dated Debian archive that has what the ordinary one no longer has, as snapshot.debian.org lays it "
        "out: http://snapshot.debian.org/archive/debian/20261101T000000Z",
    )
    image: Repository = Field(
        None, description="repository of the runtime images; <engine's registry>/ohbuild/runtime if there is one"
    )
    deps_repository: Repository = Field(
        None, description="repository of the deps image; `deps` beside `image` if empty"
    )
    component_repository: Repository = Field(
        None, description="repository of the component images and the cache of the assembly; the deps image's if empty"
    )
    deps_image: Annotated[ImageRef | None, BeforeValidator(lambda v: _reference(v) or None), _AsText] = Field(
        None, description="a ready deps image to use instead of building one"
    )
    output: Literal["auto", "push", "load", "none"] = Field(
        "auto", description="push to the registry, load into Docker, or neither; auto: push if `image` names a registry"
    )
    cache_to: str = Field(
        "auto", description="registry reference that the cache of the assembled images is written to, or off"
    )
    cache_from: Names = Field(("auto",), description="registry references that this cache is read from, or off")
    component_cache: Annotated[str, AfterValidator(_cache_repository)] = Field(
        "", description="repository for a build cache of the components' steps, besides the component images; or off"
    )
    builder: str = Field("", description="buildx builder; the current one if empty")
    compression: Literal["zstd", "gzip"] = Field("zstd", description="of new layers")
    provenance: bool = Field(False, description="attach provenance (adds a manifest to each image and platform)")
    source_date_epoch: int = Field(
        1735689600, ge=0, description="seconds since 1970 that stand for every time in an image"
    )
    ca_bundle: str = Field("auto", description="CA certificates offered to steps that download: a file, auto or off")
    labels: dict[str, str] = Field(default_factory=dict, description="more labels for every image")
    runtime: str = Field(
        "docker", description="what builds for programs that use the Python API: docker, kubernetes, …"
    )
    kubernetes: KubernetesOptions = Field(
        KubernetesOptions.model_validate({}), description="how BuildKit runs in a cluster, for the runtime kubernetes"
    )
    max_builds: int = Field(4, ge=1, description="how many builds of the Python API run at a time")
    build_timeout: float = Field(0, ge=0, description="seconds that a build of the Python API may take; 0 for any time")
    preflight: bool = Field(True, description="ask the registries about all images before anything starts")
    folder: Path = Field(Path(".ohbuild"), description="where the generated files go")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, InitSettingsSource(settings_cls, _FILE.get()))

    def model_post_init(self, context: object, /) -> None:
        for value in (self.cache_to, *self.cache_from):
            if "=" in value:
                raise ValueError(
                    f"{value!r} is buildx's way to name a cache (give the registry reference alone, or off)"
                )
            if value and value not in ("auto", *_OFF):
                checked(partial(ImageRef.parse, value))
        for name, value in self.labels.items():
            if not re.fullmatch(r"[\x21-\x7e]+", name) or "=" in name or name.startswith(label.OURS):
                raise ValueError(f"{name!r} cannot be a label's name (no spaces, no '=', not {label.OURS}…)")
            if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
                raise ValueError(f"the label {name!r} is not valid Unicode")
        if self.builder and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.builder):
            raise ValueError(f"{self.builder!r} is not a builder's name (see `docker buildx ls`)")


def is_off(value: str) -> bool:
    """Whether a cache or CA setting says ``off`` (or is empty)."""
    return not value or value in _OFF


@dataclass(frozen=True)
class Configuration:
    """The settings in force and where each came from (``default``, a file and line, a variable, a flag)."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    folder: Path | None = None,
    given_by: Callable[[str], str] = flag_origin,
) -> Configuration:
    """Read and check all settings.

    Args:
        flags: values from the command line; ``None`` values are left out.
        config: a TOML file (``--config`` or ``OHBUILD_CONFIG``); otherwise ``ohbuild.toml`` or ``pyproject.toml`` of
            ``folder``.
        folder: where to look for the file; the current one by default.
        given_by: says how a setting of ``flags`` was given: ``flag --image``, ``parameter platform``.

    Raises:
        InvalidSetting: the file cannot be read (with line and column), a key is unknown or a value is wrong.
        SeveralErrors: more than one of these.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    file, text, values = _read_file(config, folder or Path.cwd())

    _check_variables()
    try:
        environment = EnvSettingsSource(Settings, env_prefix=ENV_PREFIX)()
    except SettingsError as error:
        name = str(error).rpartition('field "')[2].partition('"')[0]
        raise InvalidSetting(
            f"environment {ENV_PREFIX}{name.upper()}: not valid JSON", "write a JSON object"
        ) from error
    origins = dict.fromkeys(Settings.model_fields, "default")
    origins |= {key: f"{file}:{_line_of(text, key)}" for key in origins.keys() & values}
    origins |= {key: f"environment {ENV_PREFIX}{key.upper()}" for key in origins.keys() & environment}
    origins |= {key: given_by(key) for key in origins.keys() & given}
    token = _FILE.set(values)
    try:
        return Configuration(Settings(**given), origins)
    except ValidationError as error:
        raise _explain(error, origins, file, text) from error
    finally:
        _FILE.reset(token)


def load_for_bases(
    flags: Mapping[str, Any],
    bases: Sequence[str] | None,
    *,
    config: Path | None = None,
    given_by: Callable[[str], str] = flag_origin,
) -> Settings:
    """``load``, for the bases that a command names; what the settings say about one of them holds.

    Raises:
        As ``load``.
    """
    settings = load(flags, config=config, given_by=given_by).settings
    if not bases:
        return settings
    configured = {base.image.canonical: base for base in settings.bases}
    named: list[BaseSetting | str] = []
    for text in bases:
        try:
            named.append(configured.get(ImageRef.parse(text).canonical, text))
        except OhbuildError:
            named.append(text)  # told with all the others when the settings are read
    return load({**flags, "bases": named}, config=config, given_by=given_by).settings


def _read_file(config: Path | None, folder: Path) -> tuple[str, str, dict[str, Any]]:
    """The file's name as shown, its text, and its settings."""
    variable = os.environ.get(ENV_PREFIX + "CONFIG")
    asked = config or (Path(variable) if variable else None)
    for path in [asked] if asked else [folder / "ohbuild.toml", folder / "pyproject.toml"]:
        if not path.is_file() and not asked:
            continue
        shown = str(asked or path.name)
        text, data = read_toml(path, shown)
        if path.name == "pyproject.toml":
            data = data.get("tool", {}).get("ohbuild")
        if isinstance(data, dict):
            return shown, text, data
    return "", "", {}


def _line_of(text: str, key: str) -> int:
    """The line (from 1) of the first ``key =`` or ``[key]`` in a TOML text; 1 if it is written in another way."""
    pattern = re.compile(
        rf"""\s*(?:\[+\s*(?:tool\.ohbuild\.)?["']?{re.escape(key)}["']?[\s.\]]|["']?{re.escape(key)}["']?\s*[=.])"""
    )
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _check_variables() -> None:
    """Refuse an ``OHBUILD_*`` variable that looks like a misspelt setting; leave other people's alone."""
    known = [ENV_PREFIX + key.upper() for key in Settings.model_fields]
    for name in sorted(os.environ):
        if not name.startswith(ENV_PREFIX) or name in known or _OTHER_VARIABLES.match(name):
            continue
        if close := difflib.get_close_matches(name, known, n=1, cutoff=0.85):
            raise InvalidSetting(f"environment {name}: unknown setting", f"perhaps you meant {close[0]}")


def _explain(error: ValidationError, origins: Mapping[str, str], file: str, text: str) -> OhbuildError:
    """pydantic's findings in our words, each with what the user typed and where."""
    found: list[OhbuildError] = []
    for item in error.errors(include_url=False):
        path = item["loc"]
        key = str(path[0]) if path else ""
        origin = origins.get(key, "")
        if item["type"] == "extra_forbidden":
            known = list(Settings.model_fields) if len(path) == 1 else list(BaseSetting.model_fields)
            last = str(path[-1])
            hint = nearest(last.replace("-", "_").lower(), known)
            origin = origin or f"{file}:{_line_of(text, last)}"
            message = f"unknown setting {last!r}" + (f" in {_spoken(path[:-1])}" if path[:-1] else "")
        else:
            message, hint = message_and_hint(item["msg"])
            # A flag, an argument and a variable are what was typed; of a file it is the key.
            if path and (origin in ("", "default") or origin.startswith(f"{file}:")):
                message = f"{_spoken(path)}: {message}"
        where = re.sub("^(default|arguments|flag |parameter |environment )", "", origin)
        found.append(InvalidSetting(f"{where}: {message}" if where else message, hint))
    return together(f"{len(found)} settings are wrong", found)


def _spoken(path: Sequence[int | str]) -> str:
    """A place in the settings: ``bases #2: image`` for the second of the bases."""
    words = "".join(f" #{part + 1}:" if isinstance(part, int) else f" {part}" for part in path)
    return words.strip().removesuffix(":")
