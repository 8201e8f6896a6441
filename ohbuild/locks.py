"""File locks for one holder or a limited number of them. The kernel releases those of a process that dies."""

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

_PAUSE = 0.05  # seconds between attempts


def slots_folder(key: str) -> Path:
    """Returns the user's folder for the locks of ``key``, below the folder for temporary files.

    Raises:
        UsageError: The folder cannot be created, or is not owned by the user.
    """
    user = Path(tempfile.gettempdir()) / f"ohbuild-{os.getuid()}"
    folder = user / hashlib.sha256(key.encode()).hexdigest()[:16]
    try:
        user.mkdir(mode=0o700, exist_ok=True)
        found = user.lstat()
        # Everyone can write to /tmp: refuse a symbolic link, and a folder in which another user can hold locks.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UsageError(f"{user} is not a folder that you own", "remove it, or set TMPDIR to another folder")
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {folder}: {error.strerror}", "set TMPDIR to a writable folder") from error
    return folder


@contextmanager
def locked(path: Path, flags: int) -> Iterator[bool]:
    """Locks a file or folder, without waiting, and yields whether it succeeded.

    Args:
        path: File or folder to lock.
        flags: Flags to open it with.
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
    """Locks a file, which is created if necessary, and waits for the lock without a time limit.

    Args:
        path: File to lock.
        on_wait: Called once if the lock is held by another.
    """
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def slot(folder: Path, count: int, until: Callable[[], bool]) -> Iterator[None]:
    """Holds one of a number of slots, and waits if all are in use.

    A slot is a locked file, so the kernel frees the slots of a process that dies.

    Args:
        folder: Folder for the lock files.
        count: Number of slots.
        until: Stops waiting as soon as it returns true.

    Raises:
        Interrupted: ``until`` returned true before a slot was free.
    """
    while not until():
        for number in random.sample(range(count), count):
            with locked(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW) as ours:
                if ours:
                    yield
                    return
        time.sleep(_PAUSE)
    raise Interrupted("stopped", "nothing was started: all slots were in use")
