"""The command line of ``oh-doctor``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from oh_container import startup

from . import programs, servers, surroundings
from .model import FAILED, Findings, Problem

SECONDS = 20.0
# More than CPUs, because parts also wait.
_AT_ONCE = 3
_Examination = Callable[[Findings], None]


def main() -> int:
    """Runs ``oh-doctor``. Exits with 1 if a part does not work, and with 2 after a wrong argument."""
    parser = argparse.ArgumentParser(
        prog="oh-doctor", description="Goes through the parts of this image: what works, what does not, and why."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="only these parts; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit for all parts (%(default)g)")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    known = dict(parts(end))
    unknown = [name for name in arguments.parts if name not in known]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; the parts are {', '.join(known)}")
    # As the servers do; /tmp may be missing or read-only.
    tempfile.tempdir = startup.temporary_folder(startup.facts())
    wanted = {name: known[name] for name in known if not arguments.parts or name in arguments.parts}
    width = max(map(len, wanted))
    if not arguments.json:
        print(surroundings.title(), flush=True)
    found = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for findings in pool.map(lambda name: examined(name, wanted[name], end), wanted):
            found.append(findings)
            if not arguments.json:
                print(*findings.lines(width), sep="\n", flush=True)
    failed = [findings for findings in found if findings.state == FAILED]
    if arguments.json:
        parted = [findings.data() for findings in found]
        print(json.dumps({"ok": not failed, "container": surroundings.title(), "parts": parted}, indent=2))
    else:
        print(f"{len(failed)} of {len(found)} parts do not work" if failed else f"all {len(found)} parts work")
    return 1 if failed else 0


def parts(end: float) -> Iterator[tuple[str, _Examination]]:
    """Yields the parts of this image, with what examines them. Those that take longest are examined first.

    Args:
        end: When to stop, by ``time.monotonic``.
    """
    there = programs.components()
    names = [component.name for component in there]
    yield "container", surroundings.container
    for server in servers.SERVERS:
        if server.component in names:
            yield f"{server.component} starts", partial(servers.examine, server, end=end)
    yield "shell", partial(surroundings.shell, end=end)
    for component in there:
        yield component.name, partial(programs.examine, component, names=names, end=end)


def examined(name: str, examine: _Examination, end: float) -> Findings:
    """Examines a part. An error is a problem of this part, not of the others.

    Args:
        name: Name of the part.
        examine: What examines it.
        end: After this time, by ``time.monotonic``, nothing is begun.
    """
    findings = Findings(name=name)
    begin = time.monotonic()
    if begin > end:
        findings.problems.append("was not tried, because there was no time left: use --seconds")
        return findings
    try:
        examine(findings)
    except Problem as problem:
        findings.problems.append(str(problem))
        findings.log += problem.log
    except Exception as error:
        findings.problems.append(f"{type(error).__name__}: {error}")
    findings.seconds = time.monotonic() - begin
    return findings


if __name__ == "__main__":
    sys.exit(main())
