"""Locks on files, which the kernel takes back from a process that dies: one holder, or so many at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ohbuild.errors import Interrupted, UsageError

_PAUSE = 0.05  # seconds between two tries


def slots_folder(key: str) -> Path:
    """The folder of locks for what ``key`` names; the user's own, below the folder for temporary files.

    Raises:
        UsageError: it cannot be made, or is somebody else's.
    """
    user = Path(tempfile.gettempdir()) / f"ohbuild-{os.getuid()}"
    folder = user / hashlib.sha256(key.encode()).hexdigest()[:16]
    try:
        user.mkdir(mode=0o700, exist_ok=True)
        found = user.lstat()
        # Everybody may write to /tmp: a link that leads elsewhere, or a folder that another can lock in, is not ours.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UsageError(f"{user} belongs to somebody else", "remove it, or set TMPDIR to a folder of your own")
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make {folder}: {error.strerror}", "set TMPDIR to a folder that can be written"
        ) from error
    return folder


@contextmanager
def locked(path: Path, flags: int) -> Iterator[bool]:
    """Holds the lock on a file or folder, if nobody else does; whether it does.

    Args:
        flags: to open it with.
    """
    handle = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = True
    except BlockingIOError:
        ours = False
    try:
        yield ours
    finally:
        os.close(handle)


@contextmanager
def held(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock on a file, which is made if it is missing, however long that takes.

    Args:
        on_wait: called once if somebody else holds it.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def slot(folder: Path, count: int, until: Callable[[], bool]) -> Iterator[None]:
    """Hold one of ``count`` places, waiting for it if all are taken.

    A place is a file with a lock on it, which the kernel takes back from a process that dies.

    Raises:
        Interrupted: ``until`` said yes before a place was free.
    """
    while not until():
        for number in random.sample(range(count), count):
            with locked(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW) as ours:
                if ours:
                    yield
                    return
        time.sleep(_PAUSE)
    raise Interrupted("stopped", "it had not begun: all places for builds were taken")
