"""Settings: flags over ``OHBUILD_*`` over ``ohbuild.toml`` or ``[tool.ohbuild]`` over defaults, with their origins."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_origin

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ohbuild.config import values
from ohbuild.config.bases import Bases, Named, chosen_bases
from ohbuild.config.descriptions import DESCRIPTIONS
from ohbuild.config.flags import origin as flag_origin
from ohbuild.config.kubernetes import KubernetesOptions
from ohbuild.config.toml import line_of, read_toml
from ohbuild.config.validation import MISSPELT, Location, explained, message_and_hint, spoken
from ohbuild.errors import InvalidSetting, OhbuildError, Place, did_you_mean, nearest, together
from ohbuild.images.reference import ImageRef
from ohbuild.text import readable, table_items

ENV_PREFIX = "OHBUILD_"
# OHBUILD_* variables of the private engine, of tests and of this module, which are not settings.
_OTHER_VARIABLES = re.compile(r"OHBUILD_(ENGINE(_|$)|TEST_|CONFIG$|DEBUG$)")


# The contents of the file while `load` reads the settings.
_FILE: ContextVar[dict[str, Any]] = ContextVar("file", default={})  # noqa: B039 — never modified


def _setting(name: str, default: Any, **rules: Any) -> Any:
    return Field(default, description=DESCRIPTIONS[name], **rules)


class _Variables(EnvSettingsSource):
    """The ``OHBUILD_*`` variables. A table is written as ``ohbuild.text.table_items`` describes."""

    def __call__(self) -> dict[str, Any]:
        """Returns the values by setting. Most runs have none, and looking for each would take half the time of all."""
        fields = self.settings_cls.model_fields
        return super().__call__() if any(f"{ENV_PREFIX}{name}".lower() in self.env_vars for name in fields) else {}

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
        """Returns the value of a variable as UTF-8 in any locale. A path stays as Python opens it."""
        text = isinstance(value, str) and field.annotation is not Path
        return super().prepare_field_value(field_name, field, readable(value) if text else value, value_is_complex)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decodes the variable of a table; a list is split later, as in the file."""
        nested = field.annotation is KubernetesOptions
        if not nested and get_origin(field.annotation) is not dict:
            return value
        items = table_items(value)
        if not nested:
            return items
        found: dict[str, Any] = {}
        for name, item in items.items():  # limits.cpu=2, node_selector.kubernetes.io/arch=amd64
            table, dot, key = name.partition(".")
            if not dot:
                found[name] = item
            elif isinstance(inner := found.setdefault(table, {}), dict):
                inner[key] = item
        return found


class Settings(BaseSettings):
    """All settings of ohbuild; docs/reference.md describes each."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, validate_default=False)

    bases: Bases = _setting("bases", ())
    platforms: values.Platforms = _setting("platforms", ())
    server: Literal["agent-server", "action-execution-server", "both"] | None = _setting("server", None)
    agent_server_version: str = _setting("agent_server_version", "")
    components: values.Names = _setting("components", ())
    requirements: values.MaybeNames = _setting("requirements", None)
    enable_browser: bool = _setting("enable_browser", True)
    allow_secret_args: bool = _setting("allow_secret_args", False)
    build_args: values.Arguments = _setting("build_args", {})
    extra_deps: values.Script = _setting("extra_deps", "")
    system_packages: values.Packages = _setting("system_packages", ())
    build_image: values.Reference = _setting("build_image", ImageRef("docker.io", "library/debian", "trixie"))
    debian_snapshot: values.Snapshot = _setting("debian_snapshot", "")
    image: values.Repository = _setting("image", None)
    deps_repository: values.Repository = _setting("deps_repository", None)
    component_repository: values.Repository = _setting("component_repository", None)
    deps_image: values.MaybeReference = _setting("deps_image", None)
    output: Literal["auto", "push", "load", "none"] = _setting("output", "auto")
    cache_to: values.Cache = _setting("cache_to", "auto")
    cache_from: values.Caches = _setting("cache_from", ("auto",))
    component_cache: values.CacheRepository = _setting("component_cache", "")
    builder: values.BuilderName = _setting("builder", "")
    compression: Literal["zstd", "gzip"] = _setting("compression", "zstd")
    provenance: bool = _setting("provenance", False)
    source_date_epoch: int = _setting("source_date_epoch", 1735689600, ge=0)
    ca_bundle: str = _setting("ca_bundle", "auto")
    labels: values.Labels = _setting("labels", {})
    runtime: str = _setting("runtime", "docker")
    kubernetes: KubernetesOptions = _setting("kubernetes", KubernetesOptions.model_validate({}))
    max_builds: int = _setting("max_builds", 4, ge=1)
    build_timeout: float = _setting("build_timeout", 0, ge=0)
    preflight: bool = _setting("preflight", True)
    folder: Path = _setting("folder", Path(".ohbuild"))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Orders the sources: flags, then variables, then the file."""
        return (init_settings, _Variables(settings_cls), InitSettingsSource(settings_cls, _FILE.get()))


@dataclass(frozen=True)
class Configuration:
    """The settings in force.

    Attributes:
        settings: Their values.
        origins: Where each came from: ``default``, a file and line, a variable or a flag.
    """

    settings: Settings
    origins: Mapping[str, str]


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    folder: Path | None = None,
    given_by: Callable[[str], str] = flag_origin,
) -> Configuration:
    """Reads and checks all settings.

    Args:
        flags: Values from the command line; ``None`` values are ignored.
        config: A TOML file (``--config``); by default ``OHBUILD_CONFIG``, or else ``ohbuild.toml`` or
            ``pyproject.toml`` in ``folder``.
        folder: Where to look for the file; by default the current directory.
        given_by: Returns how a setting of ``flags`` was given: ``flag --image``, ``parameter platform``.

    Raises:
        InvalidSetting: The file cannot be read (with line and column), a key is unknown or a value is invalid.
        SeveralErrors: More than one of these.
    """
    given = {key: _readable(value) for key, value in (flags or {}).items() if value is not None}
    file = _read_file(config, folder or Path.cwd())
    _check_variables()
    try:
        environment = _Variables(Settings)()
    except SettingsError as error:
        name = str(error).rpartition('field "')[2].partition('"')[0]
        message, hint = message_and_hint(str(error.__cause__))
        raise InvalidSetting(f"environment {ENV_PREFIX}{name.upper()}: {message}", hint) from error
    known = list(Settings.model_fields)
    origins = dict.fromkeys(known, "default")
    origins |= {key: str(file.place(key)) for key in origins.keys() & file.values}
    origins |= {key: f"environment {ENV_PREFIX}{key.upper()}" for key in origins.keys() & environment}
    origins |= {key: given_by(key) for key in origins.keys() & given}

    def typed(location: Location) -> tuple[Place | str, str]:
        """Returns where the user typed it, if in the file, and its name: a flag, a parameter, a variable or a key."""
        names = [str(part) for part in takewhile(lambda part: isinstance(part, str), location)]
        origin = origins.get(names[0], "") if names else ""
        how, _, name = origin.partition(" ")
        if how in ("arguments", "flag", "parameter", "environment"):
            return "", name
        in_file = file.name and origin == str(file.place(names[0]))
        return file.place(*names) if in_file else "", spoken(location)

    problems: list[OhbuildError] = [
        InvalidSetting.at(file.place(key), f"unknown setting {key!r}", nearest(key.replace("-", "_").lower(), known))
        for key in file.values
        if key not in known
    ]
    token = _FILE.set({key: value for key, value in file.values.items() if key in known})
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems += explained(error, typed)
    finally:
        _FILE.reset(token)
    if problems:
        raise together(f"{len(problems)} settings are invalid", problems)
    return Configuration(settings, origins)


def load_for_bases(
    flags: Mapping[str, Any],
    named: Sequence[Named],
    *,
    config: Path | None = None,
    given_by: Callable[[str], str] = flag_origin,
) -> Settings:
    """Loads the settings for the named bases, each with its own settings if it has any.

    Args:
        flags: As for ``load``.
        named: The bases; those of the settings if there are none.
        config: As for ``load``.
        given_by: As for ``load``.

    Raises:
        InvalidSetting: As ``load``, or a base is not valid.
        SeveralErrors: As ``load``.
    """
    settings = load(flags, config=config, given_by=given_by).settings
    return settings.model_copy(update={"bases": chosen_bases(named, settings.bases)}) if named else settings


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_readable(name): _readable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return readable(value) if isinstance(value, str) else value


class _File(NamedTuple):
    """A settings file; without a name if there is none.

    Attributes:
        name: The name as shown.
        text: The whole text.
        values: The settings in it.
        table: The names of the table that they are in.
    """

    name: str = ""
    text: str = ""
    values: Mapping[str, Any] = {}
    table: tuple[str, ...] = ()

    def place(self, *names: str) -> Place:
        """Returns file and line of a setting, or of a key in it."""
        return Place(self.name, line_of(self.text, *self.table, *names))


def _read_file(config: Path | None, folder: Path) -> _File:
    variable = os.environ.get(ENV_PREFIX + "CONFIG")
    requested = config or (Path(variable) if variable else None)
    for path in [requested] if requested else [folder / "ohbuild.toml", folder / "pyproject.toml"]:
        if not path.is_file() and not requested:
            continue
        name = str(requested or path.name)
        text, data = read_toml(path, name)
        if path.name != "pyproject.toml":
            return _File(name, text, data)
        found = data.get("tool", {}).get("ohbuild")
        if isinstance(found, dict):
            return _File(name, text, found, ("tool", "ohbuild"))
    return _File()


def _check_variables() -> None:
    """Raises an error for an ``OHBUILD_*`` variable that looks like a misspelt setting; ignores all others."""
    known = [ENV_PREFIX + key.upper() for key in Settings.model_fields]
    for name in sorted(os.environ):
        if not name.startswith(ENV_PREFIX) or name in known or _OTHER_VARIABLES.match(name):
            continue
        if hint := did_you_mean(name, known, MISSPELT):
            raise InvalidSetting(f"environment {name}: unknown setting", hint)
