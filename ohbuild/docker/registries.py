"""How a builder reaches registries: from ``docker info``, or from the ``buildkitd.toml`` of its nodes.

Sources: moby, ``api/types/registry``; BuildKit, ``docs/buildkitd.toml.md``; buildx, ``util/confutil``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from ohbuild.docker.described import Node
from ohbuild.images.reference import DOCKER_HUB
from ohbuild.images.registry_config import Registries, RegistryConfig

_CONFIG = "buildkitd.toml"
# Where buildx puts the files of a builder in its container.
_FOLDER = "/etc/buildkit/"


def of_docker(info: Mapping[str, Any]) -> Registries:
    """Returns how Docker reaches registries.

    Args:
        info: ``RegistryConfig`` of ``docker info``.
    """
    indexes = info.get("IndexConfigs") or {}
    configs = {
        host: RegistryConfig(insecure=True) for host, index in indexes.items() if not (index or {}).get("Secure", True)
    }
    mirrors = tuple(info.get("Mirrors") or ())
    return Registries(
        {**configs, DOCKER_HUB: RegistryConfig(mirrors=mirrors)}, tuple(info.get("InsecureRegistryCIDRs") or ())
    )


def of_nodes(nodes: Iterable[Node]) -> Registries:
    """Returns how the nodes of a builder reach registries; the first node that configures one counts."""
    configs: dict[str, RegistryConfig] = {}
    for node in nodes:
        for host, config in _configs(node.files).items():
            configs.setdefault(host, config)
    return Registries(configs)


def _configs(files: Mapping[str, str]) -> dict[str, RegistryConfig]:
    try:
        tables = tomllib.loads(files.get(_CONFIG, "")).get("registry")
    except tomllib.TOMLDecodeError:
        return {}  # BuildKit reports it, and what has the wrong type below
    pairs = tables.items() if isinstance(tables, dict) else ()
    return {host: _config(table, files) for host, table in pairs if isinstance(table, dict)}


def _config(table: Mapping[str, Any], files: Mapping[str, str]) -> RegistryConfig:
    names = [name.removeprefix(_FOLDER) for name in _words(table.get("ca"))]
    return RegistryConfig(
        mirrors=_words(table.get("mirrors")),
        http=table.get("http") is True,
        insecure=table.get("insecure") is True,
        certificates=tuple(files[name] for name in names if name in files),
    )


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
