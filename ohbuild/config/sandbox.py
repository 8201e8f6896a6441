"""The parts of OpenHands' configuration that concern its runtime image: from a mapping, config.toml or its objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from ohbuild.components.arguments import check_argument, script_problem
from ohbuild.config.toml import line_of, read_toml
from ohbuild.config.validation import MISSPELT, Location, checked, explained, spoken
from ohbuild.config.values import as_list
from ohbuild.errors import InvalidSetting, OhbuildError, Place, did_you_mean, together
from ohbuild.images.platform import parse_platforms
from ohbuild.images.reference import ImageRef

BASE_IMAGE = "nikolaik/python-nodejs:python3.12-nodejs22-slim"
"""OpenHands' own default."""

_CORE = ("enable_browser", "runtime")


def _image(value: str) -> str:
    checked(lambda: ImageRef.parse(value))
    return value


def _platforms(value: str) -> str:
    checked(lambda: parse_platforms([value]))
    return value


def _commands(value: str) -> str:
    if problem := script_problem(value):
        raise ValueError(f"{problem} (use shell commands)")
    return value


def _arguments(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        check_argument(name)
    return value


def _names(value: object) -> object:
    """Returns the names of agent plug-ins; OpenHands' own requirements are objects with a name."""
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return tuple(item if isinstance(item, str) else getattr(item, "name", item) for item in value)
    return as_list(value)


class SandboxConfig(BaseModel):
    """The parts of OpenHands' configuration that decide which runtime image is used, with OpenHands 1.6.0's defaults.

    Attributes:
        base_container_image: Image to build the runtime image from.
        runtime_container_image: Existing runtime image to use; nothing is built.
        force_rebuild_runtime: Build even if the image exists.
        runtime_extra_deps: Shell commands at the end of the build; ``$OH_INTERPRETER_PATH`` is the runtime's Python.
        runtime_extra_build_args: Options for ``docker buildx build``, such as ``--network=host``.
        platform: Platforms, comma-separated, such as ``linux/amd64``; by default those of the settings, or this
            machine's.
        build_args: Build arguments of components. Not part of OpenHands' configuration.
        plugins: Agent plug-ins that the agent requires: names, or OpenHands' requirements. By default unknown, and all
            components are included. Not part of OpenHands' configuration.
        enable_browser: Include a browser. From OpenHands' ``[core]``.
        runtime: OpenHands' runtime: ``docker``, ``kubernetes``, ``local``, ``cli``, …. From OpenHands' ``[core]``.

    Raises:
        pydantic.ValidationError: A value is invalid. The methods that read a configuration raise ohbuild's own errors,
            with the place of the value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_container_image: Annotated[
        str, BeforeValidator(lambda value: BASE_IMAGE if value is None else value), AfterValidator(_image)
    ] = BASE_IMAGE
    runtime_container_image: Annotated[str, AfterValidator(_image)] | None = None
    force_rebuild_runtime: bool = False
    runtime_extra_deps: Annotated[str, AfterValidator(_commands)] | None = None
    runtime_extra_build_args: tuple[str, ...] | None = None
    platform: Annotated[str, AfterValidator(_platforms)] | None = None
    build_args: Annotated[dict[str, str], AfterValidator(_arguments)] = {}
    plugins: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = None
    enable_browser: bool = True
    runtime: str = "docker"

    @classmethod
    def read(cls, config: Self | Mapping[str, Any] | object) -> Self:
        """Reads a configuration in any form: this class, a mapping or OpenHands' own objects.

        Args:
            config: The configuration.

        Raises:
            InvalidSetting: As the method for that form.
            SeveralErrors: As the method for that form.
        """
        if isinstance(config, cls):
            return config
        return cls.from_mapping(config) if isinstance(config, Mapping) else cls.from_openhands(config)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Reads OpenHands' tables (``{"core": {…}, "sandbox": {…}}``), or all keys on one level.

        Args:
            values: The tables or keys. Keys that do not concern ohbuild are ignored.

        Raises:
            InvalidSetting: A value is invalid, or a key is a misspelling of one of ours.
            SeveralErrors: More than one of these.
        """
        tables = _tables(values) if "core" in values or "sandbox" in values else {"": values}
        return cls._of_tables(tables, lambda *_: "")

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Reads ``[core]`` and ``[sandbox]`` from OpenHands' ``config.toml``.

        Args:
            path: The file.

        Raises:
            InvalidSetting: As ``from_mapping``, with file and line; or the file cannot be read.
            SeveralErrors: As ``from_mapping``.
        """
        text, values = read_toml(Path(path))
        return cls._of_tables(_tables(values), lambda table, key: Place(str(path), line_of(text, table, key)))

    @classmethod
    def from_openhands(cls, config: object, *, plugins: Iterable[object] | None = None) -> Self:
        """Reads OpenHands' ``OpenHandsConfig``, only its ``SandboxConfig``, or any object with their attributes.

        Args:
            config: The object.
            plugins: What the agent requires (``agent.sandbox_plugins``): names, or OpenHands' ``PluginRequirement``.

        Raises:
            InvalidSetting: An attribute has an invalid value, or none of the attributes exists.
            SeveralErrors: More than one attribute has an invalid value.
        """
        sandbox = getattr(config, "sandbox", config)
        found = {key: getattr(sandbox, key) for key in cls.model_fields if key not in _CORE and hasattr(sandbox, key)}
        core = {key: getattr(config, key) for key in _CORE if hasattr(config, key)}
        if not found:
            raise InvalidSetting(
                f"{type(config).__name__} is not an OpenHands configuration", "use an object with base_container_image"
            )
        if plugins is not None:
            found["plugins"] = plugins
        return cls._of_tables({"sandbox": found, "core": core}, lambda table, key: type(config).__name__)

    def wanted(self) -> dict[str, Any]:
        """Returns everything but the base, as parameters of ``build_runtime_image``."""
        options = self.runtime_extra_build_args
        return {
            "platform": self.platform,
            "extra_deps": self.runtime_extra_deps,
            "extra_build_args": None if options is None else list(options),
            "enable_browser": self.enable_browser,
            "plugins": self.plugins,
            "build_args": self.build_args,
        }

    @classmethod
    def _of_tables(cls, tables: Mapping[str, Any], where: Callable[[str, str], Place | str]) -> Self:
        """Reads our keys from tables; ``where`` returns the place of a key for errors (``InvalidSetting.at``)."""
        problems: list[OhbuildError] = []
        given: dict[str, Any] = {}
        table_of: dict[str, str] = {}
        for table, values in tables.items():
            if not isinstance(values, Mapping):
                raise InvalidSetting.at(where(table, ""), f"{table} is not a table", f"write its keys below [{table}]")
            known = [key for key in cls.model_fields if not table or (key in _CORE) == (table == "core")]
            for key, value in values.items():
                if key in known:
                    given[key], table_of[key] = value, table
                elif hint := _meant(str(key), known, cls.model_fields):
                    message = f"unknown key {_path(table, str(key))!r}"
                    problems.append(InvalidSetting.at(where(table, key), message, hint))

        def typed(location: Location) -> tuple[Place | str, str]:
            key = str(location[0])
            table = table_of.get(key, "")
            return where(table, key), _path(table, spoken(location))

        try:
            config = cls(**given)
        except ValidationError as error:
            problems += explained(error, typed)
        if problems:
            raise together(f"{len(problems)} settings are invalid", problems)
        return config


def _tables(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values.get(name, {}) for name in ("core", "sandbox")}


def _path(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _meant(key: str, known: list[str], everywhere: Iterable[str]) -> str:
    """Returns a hint for a key that the table does not have; empty if it does not look like one of ours."""
    word = key.lower().replace("-", "_")
    if word in everywhere and word not in known:
        return f"it belongs in [{'core' if word in _CORE else 'sandbox'}]"
    return did_you_mean(word, known, MISSPELT)  # tests/conformance asks all of OpenHands' keys
