"""How a component is seen to work: commands that ``ohbuild verify`` runs in a container of a finished image.

A check is data. It runs as ``docker exec`` runs a command, without a shell, as the container's own user and with the
environment of the image, in any base: so its command is a program below ``/openhands`` by its absolute path, and a
base that has no shell, no folder ``/tmp`` of its own or hostile variables is no excuse.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """One command, and what it must print.

    Args:
        name: a word or two, for people; unique among the checks of its component.
        command: program (absolute path) and arguments; it has to end with code 0.
        expect: a regular expression that has to be found in standard output (``re.MULTILINE``); empty for any output.
        seconds: how long it may take on the image's own kind of machine; under emulation it gets ten times that.
        needs: names of components without which it is not asked.
    """

    name: str
    command: tuple[str, ...]
    expect: str = ""
    seconds: float = 60.0
    needs: tuple[str, ...] = ()
