"""The contract of a runtime image, point by point: a table of small functions.

A point is a function that takes the running container and yields what is wrong, one line each that names the file or
the variable; what it calls may raise ``CommandFailed``, whose message is such a line, too. ``Skip`` says why a point
cannot be asked. Nothing here needs a shell or a program of the base: commands are those below ``/openhands``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from ohbuild.audit.image import audit
from ohbuild.audit.sources import open_source
from ohbuild.components.builtin import BUILTIN
from ohbuild.components.checks import Check
from ohbuild.components.component import Component
from ohbuild.docker.client import CommandFailed
from ohbuild.docker.connection import Connection
from ohbuild.engine.connect import open_registry
from ohbuild.errors import Interrupted, OhbuildError
from ohbuild.images import labels as label
from ohbuild.images.reference import ImageRef
from ohbuild.verify import probes
from ohbuild.verify.container import BUSYBOX, OH_PYTHON, Running
from ohbuild.verify.environment import DOCKER, differences, variables
from ohbuild.verify.model import HOSTILE, NUMERIC_UID, State, Subject


def point_names(known: Sequence[Component] = BUILTIN) -> tuple[str, ...]:
    """Every point there is, in the order of the table: the contract's, then the components'."""
    return ("server", *(point.name for point in POINTS), *(item.name for item in known), LAST.name, "closure")


def promises() -> dict[str, str]:
    """What each point of the contract promises, in one line; the components' own points are not among them."""
    found = {"server": "`docker run IMAGE` starts the server, and it answers"}
    found.update({point.name: point.promise for point in (*POINTS, LAST)})
    return {**found, "closure": "no file below /openhands reaches for one elsewhere (`ohbuild audit`)"}


OURS = "/openhands/"
SERVER = "action-execution-server"
_JUPYTER = "jupyter"


class Skip(Exception):
    """A point that cannot be asked here; the text says why."""


@dataclass(frozen=True)
class Point:
    """A point of the contract.

    Args:
        name: one word, as in the table.
        promise: what holds where it is green.
        ask: yields what is wrong.
        needs: names of components without which it does not apply.
    """

    name: str
    promise: str
    ask: Callable[[Running], Iterable[str]]
    needs: tuple[str, ...] = (SERVER,)


_OS_FILES = ("/etc/os-release", "/usr/lib/os-release", "/etc/passwd")


def command(running: Running) -> Iterator[str]:
    for file in _OS_FILES:
        with contextlib.suppress(CommandFailed):
            wanted = [line.strip() for line in running.read(file).splitlines()]
            break
    else:
        # a base without any of these, which cannot be written either
        root = running.exec(OH_PYTHON, "-c", "import glob; print(*sorted(glob.glob('/*')))").split()
        if sorted(running.shell("echo /*").split()) != root:
            yield f"the agent's shell sees another root than {' '.join(root)}"
        return
    seen = [line.strip() for line in running.shell(f"cat {file}").splitlines()]
    if seen != wanted:
        missing = next((line for line in wanted if line not in seen), "…")
        yield f"{file} is another in the agent's shell: {missing!r} is missing"


_TEXT = "Grüße, 世界 🚀 ½"
_FILE = "ohbuild-ü→世界"


def unicode(running: Running) -> Iterator[str]:
    # `|` is not next to the text in the command, so its echo is not taken for the answer
    seen = running.shell(f"printf '%s|%s\\n' '{_TEXT}' end")
    if f"{_TEXT}|end" not in seen:
        yield f"{_TEXT!r} comes back from the shell as {_one_line(seen)!r}"
    listing = f'{OH_PYTHON} -c "import os; print(ascii(os.listdir()))"'
    seen = running.shell(f"cd $({BUSYBOX} mktemp -d) && : > {_FILE} && echo ohbuild-* && {listing} && cd - > /dev/null")
    if f"{_FILE}\n" not in seen:
        yield f"a file named {_FILE!r} is listed by the shell as {_one_line(seen)!r}"
    if ascii([_FILE]) not in seen:
        yield f"a file that the shell made as {_FILE!r} is {_one_line(seen)!r} for oh-python"


def ipython(running: Running) -> Iterator[str]:
    content = running.action("run_ipython", code="import sys; print(6*7, sys.executable)")["content"]
    if "42" not in content:
        yield f"6*7 gives {_one_line(content)!r}"
    elif OURS not in content:
        yield f"IPython runs in {_one_line(content)!r}, which is not ours"


_PAGE_PORT = 8765
_PAGE = "<title>ohbuild</title><h1>A page on loopback</h1><p>drawn by the <b>chromium</b> component</p>"


def browse(running: Running) -> Iterator[str]:
    words = ("exec", "--detach", running.container, OH_PYTHON, "-c", probes.SERVE, str(_PAGE_PORT), _PAGE)
    running.docker.ask(*words)
    running.exec(OH_PYTHON, "-c", probes.WAIT, str(_PAGE_PORT))
    observation = running.action("browse", url=f"http://127.0.0.1:{_PAGE_PORT}/", return_axtree=False)
    extras = observation.get("extras", {})
    if extras.get("error"):
        yield f"Chromium: {_one_line(extras.get('last_browser_action_error') or observation['content'])}"
        return
    if "A page on loopback" not in observation["content"]:
        yield f"the page reads {_one_line(observation['content'])!r}"
    image = extras.get("screenshot", "").partition("base64,")[2]
    if not base64.b64decode(image).startswith(b"\x89PNG"):
        yield "the screenshot is not a PNG"
        return
    ink = float(running.exec(OH_PYTHON, "-c", probes.INK, stdin=image))
    if not 0.001 < ink < 0.5:
        yield f"{ink:.4f} of the screenshot's pixels have ink: the text of the page is not drawn"


def vscode(running: Running) -> Iterator[str]:
    token = running.get("/vscode/connection_token").json()["token"]
    if not token:
        yield "there is no connection token: the plug-in did not start VS Code"
        return
    # It starts at the side of the server, which does not wait for it.
    deadline = time.monotonic() + 60 * running.factor
    while True:
        try:
            page = _page(running, f"?tkn={token}", follow=True)
            break
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                raise CommandFailed(f"VS Code does not answer: {error}") from error
            time.sleep(0.5)
    if page.status_code != 200 or "vscode" not in page.text.lower():
        yield f"with its token it answers {page.status_code}: {_one_line(page.text)}"
    for query in ("", "?tkn=wrong"):
        code = _page(running, query).status_code
        if code != 403:
            yield f"{'without a token' if not query else 'with a wrong token'} it answers {code}, not 403"


def _page(running: Running, query: str, *, follow: bool = False) -> httpx.Response:
    seconds = 60 * running.factor
    return httpx.get(f"{running.vscode}/{query}", follow_redirects=follow, timeout=seconds, trust_env=False)


def environment(running: Running) -> Iterator[str]:
    file = "/tmp/.ohbuild-verify-env"
    running.shell(f"{BUSYBOX} env -0 > {file}; echo done")
    seen = variables(running.read(file))
    switched = running.subject.mode.switched
    found = list(differences(running.env, seen, switched=switched))
    if found:
        # What the start-up files of the base's own bash set (LS_COLORS in Debian's ~/.bashrc) is the base's, too.
        user, home = running.shell(f"{BUSYBOX} id -u").strip(), seen.get("HOME", "")
        own = variables(
            running.exec("/openhands/bin/oh-bash", "-ic", f"{BUSYBOX} env -0", user=user, env={"HOME": home})
        )
        wanted = {**running.env, **{name: value for name, value in own.items() if name not in DOCKER}}
        found = [line for line in found if line in set(differences(wanted, seen, switched=switched))]
    yield from found


_TOOLS = ("sh", "bash", "ls", "cat", "env", "git", "tmux", "python3", "python", "pip3", "node")
_OFFERED = ("sh", "bash", "ls", "cat", "env", "git", "tmux", "python3")
_VERSIONED = {"bash": "--version", "git": "--version", "tmux": "-V", "python3": "--version", "node": "--version"}


def own_tools(running: Running) -> Iterator[str]:
    path = running.env.get("PATH", "").split(":")
    first = next((i for i, folder in enumerate(path) if folder.startswith(OURS)), len(path))
    if not first or not all(folder.startswith(OURS) for folder in path[first:]):
        yield f"PATH is {':'.join(path)!r}: ours are not the last"
    own = json.loads(running.exec(OH_PYTHON, "-c", probes.WHICH, ":".join(path[:first]), *_TOOLS))
    # `type -P`: no aliases and functions, which an rc file of the base may have set
    lines = running.shell(f'for tool in {" ".join(_TOOLS)}; do echo "$tool=$(type -P $tool)"; done').splitlines()
    seen = dict(line.strip().partition("=")[::2] for line in lines if "=" in line)
    for tool in _TOOLS:
        if own[tool] and seen.get(tool) != own[tool]:
            yield f"{tool} is {seen.get(tool) or 'missing'}, not the base's {own[tool]}"
        elif not own[tool] and tool in _OFFERED and not seen.get(tool, "").startswith(OURS):
            yield f"{tool} is {seen.get(tool) or 'missing'}: the base has none, and ours does not stand in"
    for tool, flag in _VERSIONED.items():
        if own[tool]:
            yield from _same_version(running, own[tool], f"{tool} {flag}")
    lent = [tool for tool in _VERSIONED if not own[tool] and tool in _OFFERED]
    if lent:
        running.shell(" && ".join(f"{tool} {_VERSIONED[tool]}" for tool in lent))
    if own["tmux"]:
        yield from _tmux_in_tmux(running)


def _same_version(running: Running, program: str, words: str) -> Iterator[str]:
    """The base's program says the same in the agent's shell as beside it."""
    beside = running.docker.run("exec", running.container, program, words.split()[1])
    if beside.code:
        return  # the base's own affair
    wanted, seen = beside.out.split("\n")[0].strip(), running.shell(words)
    if wanted not in seen:
        yield f"`{words}` is {_one_line(seen)!r} in the agent's shell, {wanted!r} beside it"


def _tmux_in_tmux(running: Running) -> Iterator[str]:
    """The base's tmux works inside ours, which is another version."""
    run = "LC_ALL=C.UTF-8 tmux -L ohbuild-own -f /dev/null"
    seen = running.shell(f"{run} new-session -d -s own {BUSYBOX} sleep 30 && {run} list-sessions && {run} kill-server")
    if "own:" not in seen:
        yield f"the base's tmux does not work in the agent's shell: {_one_line(seen)!r}"


def user(running: Running) -> Iterator[str]:
    mode = running.subject.mode
    wanted = str(mode.agent) if mode.agent is not None else running.exec(BUSYBOX, "id", "-u").strip()
    shell = running.shell(f"{BUSYBOX} id -u").strip().splitlines()[-1]
    if shell != wanted:
        yield f"the agent's shell runs as {shell}, not as {wanted}"
    code = "import os, pwd; print(os.getuid(), bool(pwd.getpwuid(os.getuid()).pw_name))"
    named = running.shell(f'{OH_PYTHON} -c "{code}"').strip().splitlines()[-1]
    if named != f"{wanted} True":
        yield f"oh-python has no entry for user {wanted}: {named!r}"
    if _JUPYTER not in components_of(running.image):
        return
    kernel = running.action("run_ipython", code="import os; print('uid', os.getuid())")["content"]
    if f"uid {wanted}" not in kernel:
        yield f"IPython runs as {_one_line(kernel)!r}, not as {wanted}"


def starts(running: Running) -> Iterator[str]:
    config, mode = running.config, running.subject.mode
    if config.get("Entrypoint"):
        yield f"ENTRYPOINT is {config['Entrypoint']}, and would get every command as arguments"
    if (config.get("Healthcheck") or {}).get("Test") not in (None, ["NONE"]):
        yield f"HEALTHCHECK is the base's: {config['Healthcheck']['Test']}"
    docker, subject = running.docker, running.subject
    words = ["run", "--rm", "--platform", str(subject.platform), "--pull", "never", "--label", docker.label]
    # an empty PATH: what is named by its path needs none
    done = docker.run(*words, *mode.options, "--env", "PATH=", subject.reference, BUSYBOX, "echo", "hello",
                      seconds=60 * running.factor)  # fmt: skip
    if done.code or done.out != "hello\n":
        yield f"`docker run IMAGE {BUSYBOX} echo hello` prints {done.out!r}: {done.last} (exit code {done.code})"


_WRAPPERS = (
    ("python", (OH_PYTHON, "-c", "print('v', 6*7)"), "v 42"),
    ("tmux", ("/openhands/bin/oh-tmux", "-V"), "tmux "),
    ("chromium", ("/openhands/bin/oh-chromium", "--version"), "Chromium "),
    ("playwright", ("/openhands/bin/oh-playwright", "--version"), "Version "),
    ("vscode", ("/openhands/bin/oh-vscode-server", "--version"), "."),
)


def hostile(running: Running) -> Iterator[str]:
    components = components_of(running.image)
    for component, words, expected in _WRAPPERS:
        if component in components:
            # another user as well: one without an entry in /etc/passwd
            out = running.exec(*words, env={**HOSTILE, "PATH": ""}, user=str(NUMERIC_UID))
            if expected not in out:
                yield f"{words[0]} prints {_one_line(out)!r} in a hostile environment"


def pip(running: Running) -> Iterator[str]:
    wheel = running.exec(OH_PYTHON, "-c", probes.WHEEL).strip()
    running.shell(f"{OH_PYTHON} -m pip install --quiet --no-index --disable-pip-version-check {wheel} && echo done")
    seen = running.shell(f"{OH_PYTHON} -c 'import ohbuild_verify; print(ohbuild_verify.ANSWER)'")
    if "six by nine" not in seen:
        yield f"oh-python: {_one_line(seen)!r}"
    if _JUPYTER not in components_of(running.image):
        return
    # in the kernel that was running when it was installed
    kernel = running.action("run_ipython", code="import ohbuild_verify; print(ohbuild_verify.ANSWER)")["content"]
    if "six by nine" not in kernel:
        yield f"IPython: {_one_line(kernel)!r}"


def processes(running: Running) -> Iterator[str]:
    if running.factor > 1:
        raise Skip("under emulation every process maps QEMU")
    # root with all capabilities: only so may it look into other users' processes
    seen = json.loads(running.exec(OH_PYTHON, "-c", probes.PROCESSES, user="0", privileged=True))
    for wanted in ("/openhands/python/bin/", "/openhands/bin/tmux"):
        if not any(program.startswith(wanted) for program in seen):
            yield f"no process runs {wanted}: is this our server?"
    for program, files in seen.items():
        yield from (f"{program} has mapped {file}" for file in files)


def untouched(running: Running) -> Iterator[str]:
    lines = [line.partition(" ") for line in running.docker.ask("diff", running.container, seconds=120).splitlines()]
    changed = [(kind, path) for kind, _, path in lines if (path + "/").startswith(OURS)]
    # a folder says nothing where something in it is named
    leaves = [(kind, path) for kind, path in changed if not any(other.startswith(f"{path}/") for _, other in changed)]
    if len(leaves) > 3:
        yield f"{len(leaves)} files below {OURS} were changed by the run, {leaves[0][1]} among them"
        return
    for kind, path in leaves:
        yield f"{path} was { {'A': 'added', 'C': 'changed', 'D': 'deleted'}.get(kind, kind) } by the run"


# Before these comes "server": it starts and answers.
POINTS: tuple[Point, ...] = (
    Point("command", "a command in the agent's shell sees the base's files", command),
    Point("unicode", "text and file names in any script pass through the shell", unicode),
    Point("ipython", "IPython runs in our Python", ipython, (SERVER, _JUPYTER)),
    Point("browse", "Chromium reads and draws a page on loopback, with ink", browse, (SERVER, "playwright")),
    Point("vscode-token", "VS Code answers 200 with its token, 403 without", vscode, (SERVER, "vscode")),
    Point("pip", "the agent can install a wheel into our Python and import it", pip),
    Point("environment", "the shell's variables are the image's: none changed, none added", environment),
    Point("own-tools", "the base's programs come first; ours where it has none", own_tools),
    Point("user", "the agent is the user it should be, and has a name", user),
    Point("processes", "no process of ours maps a library of the base", processes),
    Point("hostile", "our wrappers work under hostile variables, as a nameless user", hostile, ("core",)),
    Point("run", "`docker run IMAGE cmd` runs cmd; no entrypoint, no health check of the base", starts, ("core",)),
)
# Asked after all others and the components' own checks.
LAST = Point("untouched", "the run changed nothing below /openhands", untouched, ())


def closure(connection: Connection, subject: Subject) -> Iterator[str]:
    """The closure audit: asked of the image, no container is needed. Quick where its layers were audited before."""
    image = ImageRef.parse(subject.reference)
    with contextlib.closing(open_registry(connection)) as registry:
        audited = audit(open_source(registry, connection, image), image, subject.platform)
    yield from (f"{finding.file}: {finding.problem}" for finding in audited.findings)


def components_of(image: dict[str, object]) -> dict[str, str]:
    """Component → version, from the labels of an image's configuration."""
    labels = image.get("Labels") or {}
    assert isinstance(labels, dict)
    return label.component_versions(labels)


def check(running: Running, component: str, checks: Iterable[Check]) -> Iterator[str]:
    """What is wrong with a component, by its own checks."""
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
            yield f"{item.name}: {item.command[0]} prints {_one_line(out)!r}, not {item.expect}"


def asked(ask: Callable[[], Iterable[str]]) -> tuple[State, tuple[str, ...]]:
    """Ask a point: its state, and the reasons."""
    reasons: list[str] = []
    try:
        for reason in ask():
            reasons.append(reason)  # one by one: what came before an exception counts, too
    except Skip as skip:
        return State.SKIPPED, (str(skip),)
    except Interrupted:
        raise
    except OhbuildError as error:
        reasons.append(error.message)
    except (httpx.HTTPError, ValueError, KeyError, LookupError) as error:
        reasons.append(f"an answer that is not understood: {type(error).__name__}: {error}")
    return (State.FAILED if reasons else State.OK), tuple(reasons)


def _one_line(text: str) -> str:
    """A text on one line, not too long."""
    return " ".join(str(text).split())[:200]
