"""The contract of a runtime image, as a table of points.

A point takes a running container and yields its problems, each in one line that names the file or the variable. An
error that it raises counts as a problem too. All commands are below ``/openhands``: nothing of the base is needed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence

from ohbuild.audit.image import audit
from ohbuild.audit.sources import open_source
from ohbuild.components.builtin import BUILTIN
from ohbuild.components.checks import Check
from ohbuild.components.component import Component
from ohbuild.docker.client import CommandFailed
from ohbuild.docker.connection import Connection
from ohbuild.engine.connect import open_registry
from ohbuild.images.reference import ImageRef
from ohbuild.verify import probes
from ohbuild.verify.clients import ActionExecutionServer
from ohbuild.verify.container import BUSYBOX, OH_PYTHON, Running
from ohbuild.verify.environment import DOCKER, differences, variables
from ohbuild.verify.model import HOSTILE, NUMERIC_UID, Subject
from ohbuild.verify.point import Point, Skip, components_of, one_line
from ohbuild.verify.server_points import SERVER_POINTS


def point_names(known: Sequence[Component] = BUILTIN) -> tuple[str, ...]:
    """Returns the names of all points in the order of the table: those of the contract and one for each component."""
    return ("server", *(point.name for point in POINTS), *(item.name for item in known), LAST.name, "closure")


def promises() -> dict[str, str]:
    """Returns what each point of the contract guarantees, in one line. The points of components are not included."""
    found = {"server": "`docker run IMAGE` starts the server, and it responds"}
    found.update({point.name: point.promise for point in (*POINTS, LAST)})
    return {**found, "closure": "no library, link or script below /openhands points outside (`ohbuild audit`)"}


OURS = "/openhands/"
_JUPYTER = "jupyter"


_OS_FILES = ("/etc/os-release", "/usr/lib/os-release", "/etc/passwd")


def command(running: Running) -> Iterator[str]:
    """Checks that the agent's shell sees the files of the base."""
    for file in _OS_FILES:
        with contextlib.suppress(CommandFailed):
            wanted = [line.strip() for line in running.read(file).splitlines()]
            break
    else:  # the base has none of these files, and they cannot be created in a read-only container
        root = running.exec(OH_PYTHON, "-c", "import glob; print(*sorted(glob.glob('/*')))").split()
        if sorted(running.shell("echo /*").split()) != root:
            yield f"/ is different in the agent's shell: it should contain {' '.join(root)}"
        return
    seen = [line.strip() for line in running.shell(f"cat {file}").splitlines()]
    if seen != wanted:
        missing = next((line for line in wanted if line not in seen), "…")
        yield f"{file} is different in the agent's shell: {missing!r} is missing"


_TEXT = "Grüße, 世界 🚀 ½"
_FILE = "ohbuild-ü→世界"


def unicode(running: Running) -> Iterator[str]:
    """Checks that the shell handles text and file names in any script."""
    seen = running.shell(f"printf '%s\\n' '{_TEXT}'")
    if seen != _TEXT:
        yield f"the shell prints {_TEXT!r} as {seen!r}"
    listing = f'{OH_PYTHON} -c "import os; print(ascii(os.listdir()))"'
    seen = running.shell(f"cd $({BUSYBOX} mktemp -d) && : > {_FILE} && echo ohbuild-* && {listing} && cd - > /dev/null")
    if seen != f"{_FILE}\n{[_FILE]!a}":
        yield f"the shell and oh-python list a file named {_FILE!r} as {seen!r}"


def environment(running: Running) -> Iterator[str]:
    """Checks that the agent's shell has the container's variables, unchanged."""
    file = "/tmp/.ohbuild-verify-env"
    running.shell(f"{BUSYBOX} env -0 > {file}; echo done")
    seen = variables(running.read(file))
    switched = running.subject.mode.switched
    found = list(differences(running.env, seen, switched=switched, allowed=running.client.variables))
    if found:
        # Variables set by startup files of the base (LS_COLORS in Debian's ~/.bashrc) are expected.
        user, home = running.shell(f"{BUSYBOX} id -u").strip(), seen.get("HOME", "")
        own = variables(
            running.exec("/openhands/bin/oh-bash", "-ic", f"{BUSYBOX} env -0", user=user, env={"HOME": home})
        )
        wanted = {**running.env, **{name: value for name, value in own.items() if name not in DOCKER}}
        found = [line for line in found if line in set(differences(wanted, seen, switched=switched))]
    yield from found


_OFFERED = (
    *("sh", "bash", "ls", "cat", "env", "git", "tmux", "python3"),
    *("rg", "curl", "wget", "jq", "pgrep", "pkill", "less", "unzip"),
)  # fmt: skip
_TOOLS = (*_OFFERED, "python", "pip3", "node")
_VERSIONED = {
    **dict.fromkeys(("bash", "git", "python3", "node", "rg", "curl", "jq"), "--version"), "tmux": "-V",
}  # fmt: skip


def own_tools(running: Running) -> Iterator[str]:
    """Checks that the base's programs take precedence, and that ours replace missing ones."""
    path = running.env.get("PATH", "").split(":")
    first = next((i for i, folder in enumerate(path) if folder.startswith(OURS)), len(path))
    if not first or not all(folder.startswith(OURS) for folder in path[first:]):
        yield f"PATH is {':'.join(path)!r}: the folders of {OURS} must come last"
    own = json.loads(running.exec(OH_PYTHON, "-c", probes.WHICH, ":".join(path[:first]), *_TOOLS))
    # `type -P` ignores aliases and functions that startup files of the base may define.
    lines = running.shell(f'for tool in {" ".join(_TOOLS)}; do echo "$tool=$(type -P $tool)"; done').splitlines()
    seen = dict(line.strip().partition("=")[::2] for line in lines if "=" in line)
    for tool in _TOOLS:
        if own[tool] and seen.get(tool) != own[tool]:
            yield f"{tool} is {seen.get(tool) or 'missing'}, not the base's {own[tool]}"
        elif not own[tool] and tool in _OFFERED and not seen.get(tool, "").startswith(OURS):
            yield f"{tool} is {seen.get(tool) or 'missing'}: the base does not have it, and ours is not used instead"
    for tool, flag in _VERSIONED.items():
        if own[tool]:
            yield from _same_version(running, own[tool], f"{tool} {flag}")
    lent = [tool for tool in _VERSIONED if not own[tool] and tool in _OFFERED]
    if lent:
        running.shell(" && ".join(f"{tool} {_VERSIONED[tool]}" for tool in lent))
    if own["tmux"]:
        yield from _tmux_in_tmux(running)


def _same_version(running: Running, program: str, words: str) -> Iterator[str]:
    """Checks that a program of the base prints the same version in the agent's shell as in ``docker exec``."""
    beside = running.docker.run("exec", running.container, program, words.split()[1])
    if beside.code:
        return  # broken in the base
    wanted, seen = beside.out.split("\n")[0].strip(), running.shell(words)
    if wanted not in seen:
        yield f"`{words}` prints {one_line(seen)!r} in the agent's shell, but {wanted!r} in `docker exec`"


def _tmux_in_tmux(running: Running) -> Iterator[str]:
    run = "LC_ALL=C.UTF-8 tmux -L ohbuild-own -f /dev/null"
    seen = running.shell(f"{run} new-session -d -s own {BUSYBOX} sleep 30 && {run} list-sessions && {run} kill-server")
    if "own:" not in seen:
        yield f"the base's tmux does not work in the agent's shell: {one_line(seen)!r}"


def user(running: Running) -> Iterator[str]:
    """Checks that the agent runs as the expected user, and that this user has a name."""
    wanted = _expected_uid(running)
    shell = running.shell(f"{BUSYBOX} id -u").strip().splitlines()[-1]
    if shell != wanted:
        yield f"the agent's shell runs as UID {shell}, not {wanted}"
    code = "import os, pwd; print(os.getuid(), bool(pwd.getpwuid(os.getuid()).pw_name))"
    named = running.shell(f'{OH_PYTHON} -c "{code}"').strip().splitlines()[-1]
    if named != f"{wanted} True":
        yield f"oh-python does not find a passwd entry for UID {wanted}: {named!r}"
    if not (kernel := _kernel(running, "import os; print('uid', os.getuid())")):
        return
    if f"uid {wanted}" not in kernel:
        yield f"IPython runs as {one_line(kernel)!r}, not {wanted}"


def _expected_uid(running: Running) -> str:
    mode = running.subject.mode
    if mode.agent is None:
        return running.exec(BUSYBOX, "id", "-u").strip()
    if mode.switched:
        # If the base has another user with that UID, the server takes the next free one.
        for line in running.read("/etc/passwd").splitlines():
            if line.startswith("openhands:"):
                return line.split(":")[2]
    return str(mode.agent)


_ENTRYPOINT = "/openhands/bin/oh-agent-server"


def starts(running: Running) -> Iterator[str]:
    """Checks that ``docker run IMAGE COMMAND`` runs the command."""
    config, mode = running.config, running.subject.mode
    if config.get("Entrypoint") and config["Entrypoint"] != [_ENTRYPOINT]:
        yield f"ENTRYPOINT is {config['Entrypoint']}: it would receive every command as arguments"
    test = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if test != ["NONE"] and not test[-1].startswith(OURS):
        yield f"HEALTHCHECK is set by the base: {test}"
    docker, subject = running.docker, running.subject
    words = ["run", "--rm", "--platform", str(subject.platform), "--pull", "never", "--label", docker.label]
    # The PATH is empty, because a command given by its path must not need one.
    done = docker.run(*words, *mode.options, "--env", "PATH=", subject.reference, BUSYBOX, "echo", "hello",
                      seconds=60 * running.factor)  # fmt: skip
    if done.code or done.out != "hello\n":
        yield f"`docker run IMAGE {BUSYBOX} echo hello` prints {done.out!r}: {done.last} (exit code {done.code})"


def _kernel(running: Running, code: str) -> str:
    """Returns what code prints in the agent's kernel; empty if there is none."""
    if _JUPYTER not in components_of(running.image) or not isinstance(running.server, ActionExecutionServer):
        return ""
    return str(running.server.action("run_ipython", code=code)["content"])


_WRAPPERS = (
    ("python", (OH_PYTHON, "-c", "print('v', 6*7)"), "v 42"),
    ("tmux", ("/openhands/bin/oh-tmux", "-V"), "tmux "),
    ("chromium", ("/openhands/bin/oh-chromium", "--version"), "Chromium "),
    ("playwright", ("/openhands/bin/oh-playwright", "--version"), "Version "),
    ("vscode", ("/openhands/bin/oh-vscode-server", "--version"), "."),
)


def hostile(running: Running) -> Iterator[str]:
    """Checks that our wrappers work with hostile variables and for a UID without a passwd entry."""
    components = components_of(running.image)
    for component, words, expected in _WRAPPERS:
        if component in components:
            out = running.exec(*words, env={**HOSTILE, "PATH": ""}, user=str(NUMERIC_UID))
            if expected not in out:
                yield f"{words[0]} prints {one_line(out)!r} in a hostile environment"


def pip(running: Running) -> Iterator[str]:
    """Checks that the agent can install a wheel into our Python and import it."""
    wheel = running.exec(OH_PYTHON, "-c", probes.WHEEL).strip()
    running.shell(f"{OH_PYTHON} -m pip install --quiet --no-index --disable-pip-version-check {wheel} && echo done")
    seen = running.shell(f"{OH_PYTHON} -c 'import ohbuild_verify; print(ohbuild_verify.ANSWER)'")
    if "six by nine" not in seen:
        yield f"oh-python: {one_line(seen)!r}"
    # This kernel was started before the wheel was installed.
    kernel = _kernel(running, "import ohbuild_verify; print(ohbuild_verify.ANSWER)")
    if kernel and "six by nine" not in kernel:
        yield f"IPython: {one_line(kernel)!r}"


def processes(running: Running) -> Iterator[str]:
    """Checks that none of our processes maps a library of the base."""
    if running.factor > 1:
        raise Skip("under emulation every process maps QEMU")
    # Only root with all capabilities can read the maps of other users' processes.
    seen = json.loads(running.exec(OH_PYTHON, "-c", probes.PROCESSES, user="0", privileged=True))
    for wanted in ("/openhands/python/bin/", "/openhands/bin/tmux"):
        if not any(program.startswith(wanted) for program in seen):
            yield f"no process runs {wanted}*: the server is not ours"
    for program, files in seen.items():
        yield from (f"{program} has mapped {file}" for file in files)


def untouched(running: Running) -> Iterator[str]:
    """Checks that nothing below ``/openhands`` changes at run time."""
    lines = [line.partition(" ") for line in running.docker.ask("diff", running.container, seconds=120).splitlines()]
    changed = [(kind, path) for kind, _, path in lines if (path + "/").startswith(OURS)]
    # Docker also lists the folders of a changed file; only the innermost paths are reported.
    leaves = [(kind, path) for kind, path in changed if not any(other.startswith(f"{path}/") for _, other in changed)]
    if len(leaves) > 3:
        yield f"{len(leaves)} files below {OURS} changed at run time, including {leaves[0][1]}"
        return
    for kind, path in leaves:
        yield f"{path} was { {'A': 'added', 'C': 'changed', 'D': 'deleted'}.get(kind, kind) } at run time"


POINTS: tuple[Point, ...] = (
    Point("command", "a command in the agent's shell sees the base's files", command),
    Point("unicode", "the shell handles text and file names in any script", unicode),
    *SERVER_POINTS,
    Point("pip", "the agent can install a wheel into our Python and import it", pip),
    Point("environment", "the shell has the image's variables: none changed, none added", environment),
    Point("own-tools", "the base's programs come first; ours replace missing ones", own_tools),
    Point("user", "the agent runs as the expected user, who has a name", user),
    Point("processes", "none of our processes maps a library of the base", processes),
    Point("hostile", "our wrappers work with hostile variables and without a passwd entry", hostile, ("core",), ()),
    Point("run", "`docker run IMAGE cmd` runs cmd; no entrypoint, no health check of the base", starts, ("core",), ()),
)
# Checked after all others, including the components' own checks.
LAST = Point("untouched", "nothing below /openhands changes at run time", untouched, (), ())


def closure(connection: Connection, subject: Subject) -> Iterator[str]:
    """Runs the closure audit of the image, without a container. Layers that were audited before are not read again."""
    image = ImageRef.parse(subject.reference)
    with contextlib.closing(open_registry(connection)) as registry:
        audited = audit(open_source(registry, connection, image), image, subject.platform)
    yield from (f"{finding.file}: {finding.problem}" for finding in audited.findings)


def check(running: Running, component: str, checks: Iterable[Check]) -> Iterator[str]:
    """Runs the checks of a component and yields the problems."""
    there = components_of(running.image)
    for item in checks:
        if any(name not in there for name in item.needs):
            continue
        try:
            out = running.exec(*item.command, seconds=item.seconds)
        except CommandFailed as error:
            yield f"{item.name}: {error.message}"
            continue
        if item.expect and not re.search(item.expect, out, re.MULTILINE):
            yield f"{item.name}: {item.command[0]} prints {one_line(out)!r}, not {item.expect}"
