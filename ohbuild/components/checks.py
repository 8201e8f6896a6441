"""Commands that ``ohbuild verify`` runs in a container of a finished image to test a component.

A check is data. It runs like a command of ``docker exec``: without a shell, as the container's user, with the image's
environment, and in any base. Its program must therefore be an absolute path below ``/openhands``. It must also work in
bases without a shell, without ``/tmp`` or with hostile environment variables.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Check:
    """A command and its expected output.

    Attributes:
        name: One or two words for people, unique among the checks of the component.
        command: Program (absolute path) and arguments. It must exit with code 0.
        expect: Regular expression that standard output must match somewhere (``re.MULTILINE``); empty for any output.
        seconds: Time limit on a machine of the image's platform. Under emulation it is ten times as long.
        needs: Names of components that the check needs. It is skipped in images without them.
    """

    name: str
    command: tuple[str, ...]
    expect: str = ""
    seconds: float = 60.0
    needs: tuple[str, ...] = ()
