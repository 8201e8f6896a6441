"""Who uses a builder that several processes know by the same name, so that none removes it while another one builds."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable

from ohbuild.errors import Interrupted
from ohbuild.locks import slots_folder

_PAUSE = 0.05  # seconds between attempts


class Share:
    """A share in a builder. The kernel ends it if the process dies.

    Args:
        key: What identifies the builder on this machine.
    """

    def __init__(self, key: str) -> None:
        self._folder = slots_folder(f"share {key}")
        self._handle: int | None = None

    def begin(self, until: Callable[[], bool]) -> None:
        """Takes a share, and waits while the last user removes the builder.

        Args:
            until: Stops waiting as soon as it returns true.

        Raises:
            Interrupted: ``until`` returned true.
        """
        if self._handle is not None:
            return
        handle = os.open(self._folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        while not _locked(handle, fcntl.LOCK_SH):
            if until():
                os.close(handle)
                raise Interrupted("stopped", "the builder was just being removed")
            time.sleep(_PAUSE)
        self._handle = handle

    def end(self, *, made: bool, identity: str, remove: Callable[[], None]) -> None:
        """Gives the share up. The last user of a builder removes it if it was made by one of them.

        Args:
            made: Whether this user made the builder.
            identity: What distinguishes it from other builders that had this name before.
            remove: Removes it.
        """
        handle, self._handle = self._handle, None
        if handle is None:
            return
        inherited = self._folder / "made"
        try:
            if not _locked(handle, fcntl.LOCK_EX):
                if made:
                    inherited.write_text(identity, encoding="utf-8")
                return
            made = made or (inherited.exists() and inherited.read_text(encoding="utf-8") == identity)
            inherited.unlink(missing_ok=True)
            if made:
                remove()
        finally:
            os.close(handle)


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
