"""What ``docker buildx inspect`` prints about a builder (buildx: commands/inspect.go). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ohbuild.errors import OhbuildError
from ohbuild.images.platform import Platform, parse_platforms

_OPTION = re.compile(r'(\S+?)=("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a builder: a daemon that buildx starts.

    Args:
        name: unique in the builder; for ``kubernetes`` the Deployment's name, so unique in its namespace.
        platforms: those whose steps it is to get; what it says it can do if empty.
        options: ``--driver-opt``.
        endpoint: where it is; status: ``running``, ``inactive``, …; empty where buildx did not say.
    """

    name: str
    platforms: tuple[Platform, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = ""
    status: str = ""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A builder, as far as it was told.

    Args:
        error: why it, or one of its nodes, cannot be used; empty if nothing is wrong.
    """

    name: str = ""
    driver: str = ""
    error: str = ""
    nodes: tuple[Node, ...] = ()


def parse(text: str) -> Described:
    """Reads it; nodes of the same name (pods of one Deployment) are one."""
    head, _, rest = text.partition("\nNodes:")
    fields = {label: value.strip() for label, _, value in (line.partition(":") for line in head.splitlines())}
    error = fields.get("Error", "")
    nodes: dict[str, Node] = {}
    name = ""
    for line in rest.splitlines():
        label, _, value = line.partition(":")
        value = value.strip()
        if label == "Name":
            name = value
            nodes.setdefault(name, Node(name=name))
        elif label == "Error":
            error = error or value
        elif name:
            nodes[name] = _with(nodes[name], label, value)
    return Described(
        name=fields.get("Name", ""), driver=fields.get("Driver", ""), error=error, nodes=tuple(nodes.values())
    )


def _with(node: Node, label: str, value: str) -> Node:
    """A node with what another line says of it."""
    if label == "Driver Options":
        return replace(node, options={key: json.loads(quoted) for key, quoted in _OPTION.findall(value)})
    if label == "Platforms":
        # A star marks what was asked for; the rest is what the daemon says it can do.
        asked = [word.strip(" *") for word in value.split(",") if word.strip().endswith("*")]
        return replace(node, platforms=_platforms(asked))
    if label in ("Endpoint", "Status"):
        return replace(node, **{label.lower(): value})  # type: ignore[arg-type]
    return node


def _platforms(words: Iterable[str]) -> tuple[Platform, ...]:
    try:
        return parse_platforms(words)
    except OhbuildError:  # one that ohbuild does not know is none that it asked for
        return ()
