"""Parses the output of ``docker buildx inspect`` (buildx: commands/inspect.go)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ohbuild.errors import OhbuildError
from ohbuild.images.platform import Platform, parse_platforms

_FILE = re.compile(r"File#(.+):\s*")
_FILE_LINE = re.compile(r"\s*> ?(.*)")
_OPTION = re.compile(r'(\S+?)=("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a builder: a BuildKit daemon.

    Attributes:
        name: Name, unique in the builder; for ``kubernetes`` also the Deployment's name, unique in its namespace.
        platforms: Platforms requested for the node; if empty, it builds for those that the daemon reports.
        options: Driver options (``--driver-opt``).
        endpoint: Address of the daemon; empty if buildx does not report it.
        status: ``running``, ``inactive``, …; empty if buildx does not report it.
        files: Files that its daemon was configured with, by name, such as ``buildkitd.toml``.
    """

    name: str
    platforms: tuple[Platform, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    endpoint: str = ""
    status: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Described:
    """A builder as described by buildx; fields that are not reported are empty.

    Attributes:
        name: Name of the builder.
        driver: Name of its driver.
        error: Why the builder or one of its nodes cannot be used; empty if there is no problem.
        nodes: Nodes of the builder.
    """

    name: str = ""
    driver: str = ""
    error: str = ""
    nodes: tuple[Node, ...] = ()


def parse(text: str) -> Described:
    """Parses a description. Nodes with the same name (pods of one Deployment) become one."""
    head, _, rest = text.partition("\nNodes:")
    fields = {label: value.strip() for label, _, value in (line.partition(":") for line in head.splitlines())}
    error = fields.get("Error", "")
    nodes: dict[str, Node] = {}
    name = file = ""
    for line in rest.splitlines():
        if file and (content := _FILE_LINE.fullmatch(line)):
            files = nodes[name].files
            nodes[name] = replace(nodes[name], files={**files, file: files.get(file, "") + content[1] + "\n"})
            continue
        named = _FILE.fullmatch(line)
        file = named[1] if named and name else ""
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
    """Returns the node with the value of one more line."""
    if label == "Driver Options":
        return replace(node, options={key: json.loads(quoted) for key, quoted in _OPTION.findall(value)})
    if label == "Platforms":
        # A star marks requested platforms; the others are reported by the daemon.
        asked = [word.strip(" *") for word in value.split(",") if word.strip().endswith("*")]
        return replace(node, platforms=_platforms(asked))
    if label in ("Endpoint", "Status"):
        return replace(node, **{label.lower(): value})  # type: ignore[arg-type]
    return node


def _platforms(words: Iterable[str]) -> tuple[Platform, ...]:
    try:
        return parse_platforms(words)
    except OhbuildError:  # ohbuild never requests a platform that it does not know
        return ()
