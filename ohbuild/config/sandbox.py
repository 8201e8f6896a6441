"""What OpenHands' configuration says about the image of its runtime: from a mapping, its config.toml or its objects."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from ohbuild.components.arguments import check_argument, script_problem
from ohbuild.config.settings import words
from ohbuild.config.toml import line_of, read_toml
from ohbuild.config.validation import checked, message_and_hint
from ohbuild.errors import InvalidSetting, OhbuildError, together
from ohbuild.images.platform import parse_platforms
from ohbuild.images.reference import ImageRef

BASE_IMAGE = "nikolaik/python-nodejs:python3.12-nodejs22-slim"
"""OpenHands' own default."""

_CORE = ("enable_browser", "runtime")
# A key of OpenHands' that only resembles one of ours is further from it than this; tests/conformance asks all of them.
_MISSPELT = 0.85


def _image(value: str) -> str:
    checked(lambda: ImageRef.parse(value))
    return value


def _platforms(value: str) -> str:
    checked(lambda: parse_platforms([value]))
    return value


def _commands(value: str) -> str:
    if problem := script_problem(value):
        raise ValueError(f"{problem} (write shell commands)")
    return value


def _arguments(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        check_argument(name, text)
    return value


def _names(value: object) -> object:
    """OpenHands' requirements of plug-ins are objects with a name; configurations have the names."""
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return tuple(item if isinstance(item, str) else getattr(item, "name", item) for item in value)
    return words(value)


class SandboxConfig(BaseModel):
    """The parts of OpenHands' configuration that decide which image its runtime has, with OpenHands 1.6.0's defaults.

    Args:
        base_container_image: the image to put the runtime into.
        runtime_container_image: a ready runtime image: then nothing is built.
        force_rebuild_runtime: build, even if the image is there.
        runtime_extra_deps: shell commands at the end of the build; ``$OH_INTERPRETER_PATH`` is the runtime's Python.
        runtime_extra_build_args: options for ``docker buildx build``, such as ``--network=host``.
        platform: as in ``linux/amd64``; several by comma; if ``None`` that of the settings, or this machine's.
        build_args: values for build arguments of components (ohbuild's own; OpenHands has no such key).
        plugins: names of the plug-ins that the agent requires, or OpenHands' requirements themselves; ``None`` means
            that it is not said, and the image has everything (ohbuild's own).
        enable_browser: whether the image has a browser. OpenHands' ``[core]``.
        runtime: OpenHands' runtime: ``docker``, ``kubernetes``, ``local``, ``cli``, …. OpenHands' ``[core]``.

    Raises:
        pydantic.ValidationError: a value is wrong. The methods that read raise ohbuild's own errors, which say where.
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
        """The configuration in whatever form it comes: this class, a mapping, OpenHands' own objects.

        Raises:
            InvalidSetting: as the method for that form.
        """
        if isinstance(config, cls):
            return config
        return cls.from_mapping(config) if isinstance(config, Mapping) else cls.from_openhands(config)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """From OpenHands' tables (``{"core": {…}, "sandbox": {…}}``), or with all keys on one level.

        Raises:
            InvalidSetting: a value is wrong, or a key is nearly one of these; other keys are OpenHands' own affair.
            SeveralErrors: more than one of these.
        """
        tables = _tables(values) if "core" in values or "sandbox" in values else {"": values}
        return cls._of_tables(tables, lambda *_: "")

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """From OpenHands' ``config.toml``: ``[core]`` and ``[sandbox]``.

        Raises:
            InvalidSetting, SeveralErrors: as ``from_mapping``, with file and line; or the file cannot be read.
        """
        text, values = read_toml(Path(path))
        return cls._of_tables(_tables(values), lambda table, key: f"{path}:{line_of(text, table, key)}: ")

    @classmethod
    def from_openhands(cls, config: object, *, plugins: Iterable[object] | None = None) -> Self:
        """From OpenHands' ``OpenHandsConfig``, or its ``SandboxConfig`` alone, or whatever has these attributes.

        Args:
            plugins: what the agent requires (``agent.sandbox_plugins``): names or OpenHands' ``PluginRequirement``.

        Raises:
            InvalidSetting, SeveralErrors: an attribute has a wrong value, or there is none at all.
        """
        sandbox = getattr(config, "sandbox", config)
        found = {key: getattr(sandbox, key) for key in cls.model_fields if key not in _CORE and hasattr(sandbox, key)}
        core = {key: getattr(config, key) for key in _CORE if hasattr(config, key)}
        if not found:
            raise InvalidSetting(
                f"{type(config).__name__} is no configuration of OpenHands", "give one with base_container_image"
            )
        if plugins is not None:
            found["plugins"] = plugins
        return cls._of_tables({"sandbox": found, "core": core}, lambda table, key: f"{type(config).__name__}: ")

    def wanted(self) -> dict[str, Any]:
        """What it says of an image besides the base, as parameters of ``build_runtime_image``."""
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
    def _of_tables(cls, tables: Mapping[str, Any], where: Callable[[str, str], str]) -> Self:
        """The keys of some tables that are ours, all right; ``where`` tells the place of a key for errors."""
        problems: list[OhbuildError] = []
        given: dict[str, Any] = {}
        table_of: dict[str, str] = {}
        for table, values in tables.items():
            if not isinstance(values, Mapping):
                raise InvalidSetting(f"{where(table, '')}{table} is not a table", f"write [{table}] and its keys below")
            known = [key for key in cls.model_fields if not table or (key in _CORE) == (table == "core")]
            for key, value in values.items():
                if key in known:
                    given[key], table_of[key] = value, table
                elif hint := _meant(str(key), known, cls.model_fields):
                    problems.append(InvalidSetting(f"{where(table, key)}unknown key {_path(table, str(key))!r}", hint))
        try:
            config = cls(**given)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                key = str(item["loc"][0])
                path = _path(table_of.get(key, ""), ".".join(str(part) for part in item["loc"]))
                reason, hint = message_and_hint(item["msg"])
                problems.append(InvalidSetting(f"{where(table_of.get(key, ''), key)}{path}: {reason}", hint))
        if problems:
            raise together(f"{len(problems)} settings are wrong", problems)
        return config


def _tables(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values.get(name, {}) for name in ("core", "sandbox")}


def _path(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _meant(key: str, known: list[str], everywhere: Iterable[str]) -> str:
    """What a key that is none of a table's was meant to be; nothing if it looks like none of ours."""
    word = key.lower().replace("-", "_")
    if word in everywhere and word not in known:
        return f"it belongs into [{'core' if word in _CORE else 'sandbox'}]"
    close = difflib.get_close_matches(word, known, n=1, cutoff=_MISSPELT)
    return f"perhaps you meant {close[0]!r}" if close else ""
