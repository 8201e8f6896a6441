"""Runs in a container: our shell with each start-up file, and an agent's commands in it. Prints a JSON object.

It gives, for each start-up file, what differs from what the commands should give. Arguments are the names of start-up
files; by default, all of them are tried.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from oh_container import shell as shells
from oh_container.shells import bash, is_bash

from tests.engine.shells import fragments

SCRIPTS = "Latin ÀÉĲ, Ελληνικά, Русский, עברית, العربية, हिन्दी, 漢字, かな, 한글, ไทย, ქართული, \U0001f44d"
SECONDS = 60
# Most of them wait for most of the time: every one that is left out, for as long as a server would (START_SECONDS).
AT_ONCE = 3
# Command, output (None: any), exit code. FOLDER is one that only this shell uses.
COMMANDS: list[tuple[str, str | None, int]] = [
    (f"printf '%s\\n' '{SCRIPTS}'", SCRIPTS, 0),
    (f"echo '{SCRIPTS}' >FOLDER/text; cat FOLDER/text; rm -f FOLDER/text", SCRIPTS, 0),
    ("(exit 7)", "", 7),
    ("echo $?", "7", 0),
    ("printf 'no newline'", "no newline", 0),
    ("echo 'echo one'", "echo one", 0),
    ("printf '  indented\\n\\n  twice\\n'", "  indented\n\n  twice", 0),
    ("printf 'a\\001b\\016\\033[31mred\\033[0m\\n'", None, 0),
    ("echo plain", "plain", 0),
    ("cat <<'END'\n$one `two` \"three\"\n  'four' \\ five\nEND", "$one `two` \"three\"\n  'four' \\ five", 0),
    ('mkdir -p "FOLDER/q\'\\"x \\$y" && cd "FOLDER/q\'\\"x \\$y"', "", 0),
    ("pwd", "FOLDER/q'\"x $y", 0),
    ("cd / # a comment", "", 0),
    ('one=1; two() { echo "two $one"; }', "", 0),
    ("two", "two 1", 0),
    ("for i in 1 2 3; do\n  echo $i\ndone", "1\n2\n3", 0),
    ("false | true", "", 0),
    ("echo $no_such_variable; echo after", "\nafter", 0),
    ("no_such_command", None, 127),
    ("echo )", None, 2),
    ("env | sort | grep -c '^PATH='", "1", 0),
    ("echo -n '###PS1JSON###'; echo; echo '###PS1END###'", "###PS1JSON###\n###PS1END###", 0),
    ("sleep 300 & one=$!; kill $one; wait $one 2>/dev/null; echo killed", None, 0),
    ("test -t 0 && test -t 1 && test -t 2", "", 0),
]
INSIDE_TMUX = ("echo ${TMUX-no} ${TMUX_PANE-no}", "no no")
REMOVED = ("strict", "readonly PROMPT_COMMAND")
LARGE = [
    ("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end", "x" * 1_000_000 + "\nend"),
    (f"i=0; while [ $i -lt 10000 ]; do echo {'y' * 99}; i=$((i+1)); done", "\n".join(["y" * 99] * 10_000)),
]


class Session:
    """A shell with a start-up file."""

    def __init__(self, program: str, text: str) -> None:
        home = Path(tempfile.mkdtemp())
        (home / ".bashrc").write_text(text)
        self.shell = shells.Shell(program, command=list, environ={**os.environ, "HOME": str(home)}, folder="/")

    def run(self, command: str, *typed: str) -> tuple[str, int]:
        """Runs a command, types what it reads, and returns its output and exit code."""
        end = time.monotonic() + SECONDS
        self.shell.run(command)
        for text in typed:
            self.shell.poll(0.5)
            self.shell.type(text, enter=not text.startswith("C-"))
        while self.shell.running:
            left = end - time.monotonic()
            if left < 0:
                return f"still running: {self.shell.output}", -1
            # bash may miss one that comes between two commands of a loop, and people press the key again.
            if typed == ("C-c",) and left < SECONDS - 10:
                self.shell.type("C-c", enter=False)
            self.shell.poll(5 if typed == ("C-c",) else 0.5)
        return self.shell.output, self.shell.state.status


def differences(session: Session, *, read_only: bool) -> Iterator[str]:
    """Yields what an agent's commands give, where it is not what they should give."""
    folder = tempfile.mkdtemp()
    for line, wanted, status in COMMANDS:
        command, output = line.replace("FOLDER", folder), wanted and wanted.replace("FOLDER", folder)
        found, code = session.run(command)
        if code != status or output not in (None, found):
            yield f"{command!r}: {found[:300]!r} ({code}), expected {output!r} ({status})"
    found, code = session.run(INSIDE_TMUX[0])
    # A read-only variable cannot be unset.
    if found != INSIDE_TMUX[1] and not read_only:
        yield f"variables: {found!r}"
    found, code = session.run("while :; do sleep 1; done", "C-c")
    if code != 130 or not found.startswith("^C"):
        yield f"Ctrl-C: {found!r} ({code})"
    found, code = session.run("read answer; echo got $answer", "some words;")
    if (found, code) != ("some words;\ngot some words;", 0):
        yield f"input: {found!r} ({code})"
    found, code = session.run(
        "(while sleep 0.02; do printf '\\033]2;other\\007'; done) & sleep 0.3; kill $!; echo titled"
    )
    if code or not found.endswith("titled"):
        yield f"title: {found!r} ({code})"
    found, code = session.run("cd /usr; exit 3")
    if code != 3 or "A new one was started in /usr" not in found:
        yield f"exit: {found!r} ({code})"
    found, code = session.run("pwd")
    if (found, code) != ("/usr", 0):
        yield f"after the exit: {found!r} ({code})"


def kept(program: str, name: str, text: str, *, system: bool) -> list[str]:
    """Returns what is wrong with a shell that should have read the file."""
    session = Session(program, "alias own='echo own'" if system else f"alias own='echo own'\n{text}\n")
    if session.shell.left_out:
        return [f"left out: {session.shell.left_out}: {session.shell.output}"]
    found = list(differences(session, read_only="TMUX" in name))
    aliases = session.run("alias own")[0]
    session.shell.close()
    return found if "own" in aliases or "aliases" in name or "posix" in name else [*found, f"aliases: {aliases}"]


def left_out(program: str, text: str, *, file: str) -> list[str]:
    """Returns what is wrong with a shell that should have left the file out."""
    start = time.monotonic()
    session = Session(program, "" if file.startswith("/") else f"echo shown\n{text}\n")
    seconds = time.monotonic() - start
    first, code = session.run("echo first")
    told = file in first and "shown" in first and first.endswith("\nfirst") and code == 0
    found = list(differences(session, read_only=False))
    session.shell.close()
    return [first] * (not told) + [f"{seconds} s"] * (seconds > 2 * shells.START_SECONDS) + found


def removed(program: str, text: str) -> list[str]:
    """Returns what is wrong with a shell after a command that removes all temporary files, those of the shell too."""
    session = Session(program, text)
    session.run("rm -rf /tmp/* /dev/shm/*")
    found, code = session.run("echo again")
    session.shell.close()
    return [] if (found.splitlines()[-1:], code) == (["again"], 0) else [f"{found!r} ({code})"]


def megabyte(program: str) -> list[str]:
    """Returns what is wrong with large outputs."""
    session = Session(program, "")
    found = [(*session.run(command), output) for command, output in LARGE]
    session.shell.close()
    return [f"{len(text)} ({code})" for text, code, output in found if (text, code) != (output, 0)]


def for_all_users(program: str, name: str) -> list[str]:
    """Returns what is wrong with a shell whose start-up file is that of all users."""
    system = Path("/etc/bash.bashrc")
    before = system.read_text() if system.exists() else ""
    text = {**fragments.KEPT, **fragments.LEFT_OUT}[name]
    system.write_text(f"{before}\necho shown\n{text}\n")
    try:
        if name in fragments.KEPT:
            return kept(program, name, text, system=True)
        return left_out(program, text, file=str(system))
    finally:
        system.write_text(before)


def tried(task: tuple[str, str, str]) -> list[str]:
    """Tries one start-up file: the shell's program, what to do, and the name of the file."""
    program, how, name = task
    if how == "kept":
        return kept(program, name, fragments.KEPT[name], system=False)
    return left_out(program, fragments.LEFT_OUT[name], file="~/.bashrc")


def main() -> None:
    """Tries the start-up files: those of users several at once, and then what changes the whole container."""
    only = sys.argv[1:]
    program = bash(os.environ, is_bash)
    # Those that take longest first.
    tasks = [(program, "left out", name) for name in fragments.LEFT_OUT]
    tasks += [(program, "kept", name) for name in fragments.KEPT]
    tasks = [task for task in tasks if not only or task[2] in only]
    with multiprocessing.get_context("fork").Pool(AT_ONCE) as pool:
        found = pool.map(tried, tasks, chunksize=1)
    result = dict(zip((name for _, _, name in tasks), found, strict=True))
    for name in fragments.SYSTEM:
        if not only or name in only:
            result[f"{name}, for all users"] = for_all_users(program, name)
    if not only:
        result["a megabyte"] = megabyte(program)
        for name, text in (("", ""), *((name, fragments.KEPT[name]) for name in REMOVED)):
            result[f"temporary files removed, {name}"] = removed(program, text)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
