"""Runs in a container: starts every ELF program below /openhands, and prints those that do not start, as JSON.

It does not matter what a program says to ``--version``. It must not be killed by a signal, and neither the loader nor
the kernel may refuse it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path("/openhands")
SECONDS = 60
REFUSED = ("error while loading shared libraries", "symbol lookup error", "cannot execute")


def executables() -> Iterator[Path]:
    """Yields the ELF files with an entry point. Links to them are the same programs."""
    for folder, _, names in os.walk(ROOT):
        for name in names:
            path = Path(folder, name)
            if path.is_symlink() or not os.access(path, os.X_OK):
                continue
            with path.open("rb") as file:
                head = file.read(64)
            # e_type ET_DYN is a shared library too, which has no entry point (e_entry).
            elf = head[:4] == b"\x7fELF" and head[24:32] != bytes(8)
            if elf and ".so" not in name:
                yield path


def problem(path: Path) -> str:
    """Returns why a program does not start; empty if it does."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [str(path), "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, cwd=folder,
                check=False, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return ""  # it has started
        except OSError as error:
            return str(error)
    said = f"{done.stdout}\n{done.stderr}"
    if done.returncode < 0:
        return f"is killed by {signal.Signals(-done.returncode).name}"
    if any(text in said for text in REFUSED):
        return f"exit code {done.returncode}: {said.strip()[:300]}"
    return ""


def main() -> None:
    """Starts them, a few at once."""
    programs = sorted(executables())
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(map(str, programs), pool.map(problem, programs), strict=True))
    print(json.dumps({"count": len(found), "problems": {path: why for path, why in found.items() if why}}))


if __name__ == "__main__":
    main()
