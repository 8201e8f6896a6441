"""Gives the engine's dockerd iptables chains of its own.

A dockerd deletes and creates Docker's chains (``DOCKER``, ``DOCKER-FORWARD``, …) when it starts. With two dockerds on
one machine, the second one thereby takes the network from the containers of the first one. So the engine's dockerd runs
``iptables`` through a script that replaces ``DOCKER`` in the names. ``DOCKER-USER`` stays: it holds the rules of the
machine's owner, applies to every Docker, and dockerd does not change its contents.
"""

from __future__ import annotations

from pathlib import Path

from ohbuild.engine import namespace
from ohbuild.engine.state import Layout, write_text

_FAMILIES = ("iptables", "ip6tables")
_WRAPPER = """\
#!/bin/sh
# Written by ohbuild: gives Docker's chains names of this engine's own.
for word; do
    shift
    case $word in
    DOCKER-USER) ;;
    DOCKER | DOCKER-*) word={chains}${{word#DOCKER}} ;;
    esac
    set -- "$@" "$word"
done
exec /usr/sbin/xtables-nft-multi "${{0##*/}}" "$@"
"""


def chains(layout: Layout) -> str:
    """Returns what replaces ``DOCKER`` in the names of chains, which are limited to 28 characters."""
    return f"OHB{layout.id[:6]}"


def install(layout: Layout) -> Path:
    """Writes the scripts that dockerd runs as ``iptables`` and ``ip6tables``, and returns their folder."""
    folder = layout.config / "firewall"
    for family in _FAMILIES:
        write_text(folder / family, _WRAPPER.format(chains=chains(layout)), mode=0o755)
    return folder


def removal(saved: str, own: str, bridges: frozenset[str]) -> str:
    """Returns the input of ``iptables-restore --noflush`` that removes the engine's chains and rules.

    Args:
        saved: Output of ``iptables-save``.
        own: What the engine's chains are called instead of ``DOCKER``.
        bridges: Names of the engine's bridges.

    Returns:
        The input; empty if there is nothing to remove.
    """

    def ours(word: str) -> bool:
        return word == own or word.startswith(own + "-") or word in bridges

    text: list[str] = []
    table, made, rules = "", [""], [""]
    for line in saved.splitlines():
        words = line.split()
        if line.startswith("*"):
            table, made, rules = line, [], []
        elif line.startswith(":") and ours(words[0][1:]):
            made.append(words[0][1:])
        elif line.startswith("-A ") and words[1] not in made and any(map(ours, words)):
            rules.append("-D" + line.removeprefix("-A"))
        elif line == "COMMIT" and (made or rules):
            text += [table, *rules, *(f"-F {chain}" for chain in made), *(f"-X {chain}" for chain in made), line]
    return "".join(f"{line}\n" for line in text)


def clear(layout: Layout, bridges: frozenset[str]) -> None:
    """Removes the engine's chains and rules, after dockerd has ended.

    Failures are ignored: rules for a bridge that does not exist have no effect, and the next dockerd replaces them.
    """
    for family in _FAMILIES:
        text = removal(namespace.ask(layout.root, f"{family}-save").out, chains(layout), bridges)
        if text:
            file = layout.run / f"{family}.rules"
            write_text(file, text)
            namespace.ask(layout.root, f"{family}-restore", "--noflush", file)
            file.unlink()
