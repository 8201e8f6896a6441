"""Prints the running programs below /openhands, and the executable mappings of each from elsewhere, as JSON.

The columns of /proc/PID/maps are documented in proc(5). Processes that exit in the meantime are ignored.
"""

import contextlib
import json
from pathlib import Path

OURS = "/openhands/"
# Devices, shared memory and files that a process creates itself are not libraries of the base.
ALLOWED = (OURS, "/dev/", "/tmp/", "/memfd:", "/SYSV")

found: dict[str, set[str]] = {}
for process in Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):
        program = str((process / "exe").readlink())
        maps = [
            line.split(maxsplit=5)
            for line in (process / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
        ]
        if program.startswith(OURS):
            files = {fields[5] for fields in maps if len(fields) == 6 and "x" in fields[1]}
            foreign = {name for name in files if name.startswith("/") and not name.startswith(ALLOWED)}
            found.setdefault(program, set()).update(foreign)
print(json.dumps({program: sorted(files) for program, files in sorted(found.items())}))
