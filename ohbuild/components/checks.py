"""How a component is seen to work: commands that ``ohbuild verify`` runs in a container of a finished image.

A check is data. It runs as ``docker exec`` runs a command, without a shell, as the container's own user and with the
environment of the image, in any base: so its command is a program below ``/openhands`` by its absolute path, and a
base that has no shell, no folder ``/tmp`` of its own or hostile variables is no excuse.
"""

from __future__ import annotations

from dataclasses import dataclass

_BIN = "/openhands/bin"
_BUSYBOX = "/openhands/libexec/busybox"
_PYTHON = f"{_BIN}/oh-python"


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


# A link to busybox by a name that it does not know is no command.
_APPLETS = """
known=$(/openhands/libexec/busybox --list)
for file in /openhands/fallback/*; do
    [ "$(/openhands/libexec/busybox readlink "$file")" = ../libexec/busybox ] || continue
    case "
$known
" in *"
${file##*/}
"*) ;; *) echo "${file##*/} is no command of busybox's"; exit 1 ;; esac
done
echo all are there
"""

CORE = (
    Check(name="bash", command=(f"{_BIN}/bash", "-c", "echo $((6 * 7))"), expect=r"^42$"),
    Check(name="oh-bash", command=(f"{_BIN}/oh-bash", "-c", "echo $((6 * 7))"), expect=r"^42$"),
    Check(name="busybox", command=(_BUSYBOX, "echo", "works"), expect=r"^works$"),
    # By execvp(3) of our libc, whose own strings were changed.
    Check(
        name="PATH",
        command=(_BUSYBOX, "env", "PATH=/nowhere:/openhands/bin", "oh-bash", "-c", "echo found"),
        expect=r"^found$",
    ),
    Check(name="every command that stands in", command=(_BUSYBOX, "sh", "-c", _APPLETS), expect=r"^all are there$"),
)

TMUX = (
    Check(
        name="a session",
        # a program with an argument is started without a shell, which a base may not have
        command=(
            f"{_BIN}/oh-tmux", "-L", "ohbuild-verify", "-f", "/dev/null",
            "new-session", "-d", "-s", "check", _BUSYBOX, "sleep", "30", ";",
            "display-message", "-p", "session #{session_name}", ";",
            "kill-server",
        ),
        expect=r"^session check$",
    ),
)  # fmt: skip

GIT = (
    Check(
        name="a clone",
        command=(
            f"{_BIN}/bash", "-c",
            # from a bundle: of a path git makes a shell command, and a base without /bin/sh keeps a user who cannot
            # make one from that
            "cd $(/openhands/libexec/busybox mktemp -d) && oh=/openhands/bin/oh-git && $oh init -q -b main a && "
            "$oh -C a -c user.name=a -c user.email=a@b commit -q --allow-empty -m 'one commit' && "
            "$oh -C a bundle create -q ../bundle HEAD main && $oh clone -q bundle b && $oh -C b log --format=%s",
        ),
        expect=r"^one commit$",
    ),
)  # fmt: skip

CHROMIUM = (
    Check(
        name="runs a page's script",
        command=(
            f"{_BIN}/oh-chromium", "--disable-gpu", "--dump-dom",
            "data:text/html,<p>product <script>document.write(6*7)</script></p>",
        ),
        expect=r"product .*42",
    ),
)  # fmt: skip

_MODULES = """
import bz2, ctypes, curses, hashlib, lzma, os, re, sqlite3, ssl, sys, zlib
assert sys.prefix.startswith("/openhands/"), f"sys.prefix is {sys.prefix}"
assert sqlite3.connect(":memory:").execute("select 6*7").fetchone() == (42,)
ctypes.CDLL(None).getpid
# OpenSSL reads a bundle at once; a folder when it needs a certificate, by the hash of its name.
paths = ssl.get_default_verify_paths()
authorities = len(ssl.create_default_context().get_ca_certs())
files = os.scandir(paths.capath) if paths.capath else ()
authorities += sum(bool(re.fullmatch("[0-9a-f]{8}[.]0", file.name)) and file.is_file() for file in files)
assert authorities > 50, f"{authorities} CA certificates in {paths}"
print("modules", "→ 世界")
"""
_MAPS = """
import ctypes, hashlib, sqlite3, ssl{more}
ssl.create_default_context()
lines = (line.split(maxsplit=5) for line in open("/proc/self/maps"))
files = {{fields[5].rstrip() for fields in lines if len(fields) == 6}}
foreign = sorted(name for name in files if name.startswith("/") and not name.startswith("/openhands/"))
assert any("libc.so.6" in name for name in files), files
assert not foreign, "mapped from the base: " + ", ".join(foreign)
print("isolated")
"""
PYTHON = (
    Check(name="modules", command=(_PYTHON, "-c", _MODULES), expect=r"^modules → 世界$"),
    Check(name="maps nothing of the base", command=(_PYTHON, "-c", _MAPS.format(more="")), expect=r"^isolated$"),
    Check(name="pip", command=(_PYTHON, "-m", "pip", "--version"), expect=r"^pip \d.* from /openhands/"),
)

NODE = (
    Check(
        name="runs a script",
        # node has no wrapper: those that start it take the variable away, which is for the base's node
        command=(_BUSYBOX, "env", "-u", "NODE_OPTIONS", "/openhands/node/bin/node", "-p", "process.version"),
        expect=r"^v\d+\.",
    ),
)

VSCODE = tuple(
    Check(name=program.rpartition("/")[2], command=(program, "--version"), expect=r"^\d+\.\d+")
    for program in (f"{_BIN}/oh-vscode-server", "/openhands/.openvscode-server/bin/openvscode-server")
)

# Without fonts of its own Chromium ends well and draws no text: so the canvas is asked for ink.
_PLAYWRIGHT = """
from playwright.sync_api import sync_playwright
INK = '''() => {
    const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
    pen.font = "40px sans-serif"; pen.fillText("ink", 10, 50);
    return pen.getImageData(0, 0, 300, 100).data.filter((value, i) => i % 4 == 3 && value).length;
}'''
with sync_playwright() as playwright:
    browser = playwright.chromium.launch()
    page = browser.new_page()
    page.set_content("<title>a title</title><p>text</p>")
    assert page.title() == "a title"
    ink = page.evaluate(INK)
    assert 200 < ink < 20_000, f"{ink} pixels of a drawn word have ink: are there fonts?"
    browser.close()
print("driven")
"""
PLAYWRIGHT = (
    Check(name="oh-playwright", command=(f"{_BIN}/oh-playwright", "--version"), expect=r"^Version \d"),
    Check(name="drives Chromium", command=(_PYTHON, "-c", _PLAYWRIGHT), expect=r"^driven$", seconds=90),
)

_KERNEL = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3", startup_timeout=240)
try:
    client.execute_interactive("print(6*7)", timeout=240)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""
_OPENHANDS = ("/openhands/micromamba/bin/micromamba", "run", "-n", "openhands", "poetry", "run")
JUPYTER = (
    Check(name="a kernel computes", command=(_PYTHON, "-c", _KERNEL), expect=r"^42$", seconds=90),
    Check(
        name="OpenHands' jupyter",
        command=(*_OPENHANDS, "jupyter", "--data-dir"),
        expect=r"^/",
        needs=("action-execution-server",),
    ),
)

_PATHS = """
import os
wanted = {
    "/openhands/code/openhands/runtime/utils/git_changes.py": os.R_OK,
    "/openhands/code/openhands/runtime/action_execution_server.py": os.R_OK,
    "/openhands/bin/oh-action-execution-server": os.X_OK,
}
missing = [path for path, access in wanted.items() if not os.access(path, access)]
assert not missing, "missing: " + ", ".join(missing)
print("all there")
"""
ACTION_EXECUTION_SERVER = (
    Check(name="OpenHands' paths", command=(*_OPENHANDS, "python", "-c", _PATHS), expect=r"^all there$"),
    Check(
        name="wheels map nothing of the base",
        command=(_PYTHON, "-c", _MAPS.format(more=", numpy, pandas")),
        expect=r"^isolated$",
    ),
)
