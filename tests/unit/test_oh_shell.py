"""Our shell: what bash and the server say to each other, and what happens when bash ends."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oh_container import prompts, protocol, shell
from oh_container.prompts import Screen
from oh_container.protocol import Event
from oh_container.shell import Shell, State

FOLDERS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1)
FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
EVENTS = st.builds(Event, moment=FIELD, status=st.integers(0, 255), job=FIELD, folder=FIELD, python=FIELD, title=FIELD)


# --- the protocol ---


@given(st.lists(EVENTS), st.data())
def test_events_are_read_in_any_pieces(events: list[Event], data: st.DataObject) -> None:
    text = "".join("".join(f"{field}\0" for field in event) for event in events).encode()
    found: list[Event] = []
    rest = b""
    while text:
        size = data.draw(st.integers(1, len(text)))
        some, rest = protocol.events(rest + text[:size])
        found += some
        text = text[size:]
    assert (found, rest) == (events, b"")


@given(FOLDERS)
def test_any_folder_makes_valid_shell(folder: str) -> None:
    texts = [
        protocol.start_file(folder, user_file=True), protocol.line(folder, "/dev/pts/0"),
        protocol.put_right(folder, "/dev/pts/0", folder), protocol.NO_FUNCTIONS,
    ]  # fmt: skip
    bash = shutil.which("bash") or ""
    done = subprocess.run([bash, "-n"], input="\n".join(texts), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of oh-prompt, which writes down its arguments."""
    program = tmp_path / "oh-prompt"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    program.chmod(0o755)
    monkeypatch.setattr(protocol, "PROMPT", str(program))
    return tmp_path


def lines(folder: Path, *commands: str) -> str:
    """Runs commands as bash does in a terminal, and returns what they print."""
    text = ""
    for number, command in enumerate(commands):
        (folder / f"{number}").mkdir()
        (folder / f"{number}" / protocol.COMMAND).write_text(command)
        text += protocol.line(str(folder / f"{number}"), "/dev/null")
    bash = [shutil.which("bash") or "", "--norc", "--noediting", "-i"]
    done = subprocess.run(bash, input=text, capture_output=True, text=True, check=False, env={"PS1": ""}, timeout=60)
    return done.stdout


def calls(folder: Path) -> list[str]:
    return [line.removeprefix(f"{folder}/").rstrip() for line in (folder / "calls").read_text().splitlines()]


def test_a_line_reports_before_and_after_a_command(prompt: Path) -> None:
    assert lines(prompt, "echo one; (exit 3)", protocol.command_file("echo $?", 3)) == "one\n3\n"
    assert calls(prompt) == ["0 before 0", "0 after 3", "1 before 0", "1 after 0"]


def test_an_aborted_command_is_reported_by_the_next_line(prompt: Path) -> None:
    assert lines(prompt, "echo one; kill -INT $$; echo two", "echo three") == "one\nthree\n"
    assert calls(prompt) == ["0 before 0", "1 before 130", "1 after 0"]


# --- the shell ---


class Terminal:
    """A terminal whose bash does what a test says: the events of its commands, or its end."""

    made: list[Terminal]
    script: Iterator[Event | int | None]
    text = ""

    def __init__(self, bash: str, **options: Any) -> None:
        self.bash, self.options = bash, options
        self.folder, self.device = "/session", "/dev/pts/0"
        self.ran: list[str] = []
        self.typed: list[str] = []
        self.code: int | None = None
        self.reading, self.closed, self.last_folder, self.removed = True, False, "", False
        Terminal.made.append(self)

    def run(self, text: str) -> None:
        self.ran.append(text)

    def ended(self, seconds: float = 0.0) -> Event | None:
        assert seconds >= 0
        happened = next(Terminal.script)
        if isinstance(happened, int):
            self.code = happened
            return None
        return happened

    def alive(self) -> bool:
        return self.code is None

    def lost(self) -> bool:
        return self.removed

    def status(self) -> int:
        return self.code or 0

    def work_folder(self) -> str:
        return "/work"

    def screen(self, title: str = "") -> tuple[str, bool]:
        return f"{Terminal.text}{title}", True

    def type(self, text: str) -> None:
        self.typed.append(text)

    def key(self, name: str) -> None:
        self.typed.append(f"<{name}>")

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def terminals(monkeypatch: pytest.MonkeyPatch) -> list[Terminal]:
    Terminal.made, Terminal.text = [], ""
    monkeypatch.setattr(shell, "Terminal", Terminal)
    return Terminal.made


def event(status: int = 0, folder: str = "/", title: str = "") -> Event:
    return Event(moment="after", status=status, job="7", folder=folder, python="", title=title)


STARTED = (event(), event(protocol.RIGHT))


def start(*happens: Event | int | None, environ: dict[str, str] | None = None) -> Shell:
    Terminal.script = iter(happens)
    return Shell("/bin/bash", command=list, environ=environ or {}, folder="/")


def test_a_command_runs_and_ends(terminals: list[Terminal]) -> None:
    found = start(*STARTED, None, event(5, "/tmp", "output"))
    assert terminals[0].options["start_files"]
    assert terminals[0].options["work_folder"] == "/"
    found.run("ls")
    found.poll()
    assert found.running
    found.poll()
    assert (found.running, found.output, found.state) == (False, "output", State(status=5, folder="/tmp", job="7"))
    found.run("pwd")
    assert terminals[0].ran[1:] == ["ls", "(exit 5); pwd"]
    found.close()
    assert terminals[0].closed


@pytest.mark.parametrize(
    ("happens", "cause"),
    [
        ((None,), "~/.bashrc, which had not ended after 20 s. Its screen: Continue?"),
        ((4,), "~/.bashrc, which ended the shell with exit code 4. Its screen: Continue?"),
        ((event(), None), "had not ended"),
        ((event(), event(0)), "had not ended"),
    ],
)
def test_start_up_files_that_do_not_end_are_left_out(
    terminals: list[Terminal], happens: tuple[Event | int | None, ...], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal.text = "Continue?"
    found = start(*happens, *STARTED, event(title="!"), event())
    assert [made.options["start_files"] for made in terminals] == [True, False]
    assert terminals[0].closed
    assert found.left_out == "~/.bashrc"
    found.run("ls")
    found.poll()
    assert cause in found.output
    assert found.output.startswith("[The shell reads no start-up file, because of ")
    assert found.output.endswith("]\nContinue?!")
    assert cause in capsys.readouterr().err
    found.run("ls")
    found.poll()
    assert found.output == "Continue?"


def test_a_shell_that_does_not_start_at_all_is_an_error(terminals: list[Terminal]) -> None:
    with pytest.raises(OSError, match="/bin/bash does not start: "):
        start(4, 4)
    assert all(made.closed for made in terminals)


def test_posix_mode_reads_no_start_up_files(terminals: list[Terminal]) -> None:
    assert not start(*STARTED, environ={"POSIXLY_CORRECT": ""}).left_out
    assert not terminals[0].options["start_files"]


@pytest.mark.parametrize(("last", "there"), [("/usr", True), ("", False), ("/no/such/folder", False)])
def test_a_shell_that_ends_is_started_again_in_the_last_folder(
    terminals: list[Terminal], last: str, *, there: bool
) -> None:
    found = start(*STARTED, 3, *STARTED)
    found.run("cd /usr; exit 3")
    terminals[0].last_folder = last
    found.poll()
    folder = last if there else "/"
    assert terminals[1].options["work_folder"] == folder
    assert f"ended with exit code 3. A new one was started in {folder};" in found.output
    assert (found.state.status, found.running) == (3, False)


def test_a_shell_that_ended_between_commands_is_started_again(terminals: list[Terminal]) -> None:
    found = start(*STARTED, *STARTED, event(title="output"))
    terminals[0].code = 9
    found.run("ls")
    found.poll()
    assert re.fullmatch(r"\[The shell had ended\. .*\]\noutput", found.output)
    assert terminals[1].ran[-1] == "ls"


def test_a_shell_whose_files_are_removed_is_started_again(terminals: list[Terminal]) -> None:
    found = start(*STARTED, 137, *STARTED, *STARTED, event())
    found.run("rm -rf /dev/shm/*")
    terminals[0].removed = True
    found.poll()
    assert "[The shell's files were removed. A new one was started in " in found.output
    terminals[1].removed, terminals[1].code = True, 137
    found.run("ls")
    found.poll()
    assert found.output.startswith("[The shell's files were removed. ")


def test_text_and_keys_are_typed(terminals: list[Terminal]) -> None:
    found = start(*STARTED)
    for text in ("yes", "two\n", "C-c", "ctrl+D", "Enter", " UP ", "C-"):
        found.type(text, enter=True)
    assert terminals[0].typed == [
        "yes", "<Enter>", "two\n", "<C-c>", "<C-d>", "<Enter>", "<Up>", "C-", "<Enter>",
    ]  # fmt: skip


# --- the prompts ---


def parsed(text: str) -> tuple[list[dict[str, Any]], str]:
    """Reads a screen as OpenHands does: the prompts, and the text after the first one."""
    found = list(prompts.PATTERN.finditer(text))
    between = text[found[0].end() + 1 : found[-1].start()] if len(found) > 1 else text[found[0].end() + 1 :]
    return [json.loads(match.group(1)) for match in found], between.rstrip("\n")


def test_a_screen_has_a_prompt_before_and_after_an_output(terminals: list[Terminal]) -> None:
    happens = (*STARTED, None, None, event(5, 'q"x'), event())
    screen = Screen(start(*happens), "me")
    assert parsed(screen.read())[0] == [
        {"pid": "", "exit_code": 0, "username": "me", "hostname": parsed(screen.read())[0][0]["hostname"],
         "working_dir": "/", "py_interpreter_path": ""},
    ]  # fmt: skip
    screen.send_keys("ls")
    # While it prints nothing, nothing may look like a prompt.
    assert not screen.read().rstrip().endswith(prompts.END.rstrip())
    Terminal.text = "###PS1JSON###\n{}\n###PS1END###"
    assert parsed(screen.read())[1] == Terminal.text
    found, output = parsed(screen.read())
    assert [(prompt["exit_code"], prompt["working_dir"]) for prompt in found] == [(5, 'q"x')] * 2
    assert output == Terminal.text
    screen.clear()
    assert parsed(screen.read())[1] == ""
    assert terminals[0].ran[-1] == "ls"


def test_a_key_at_a_prompt_gives_another_one(terminals: list[Terminal]) -> None:
    screen = Screen(start(*STARTED), "me")
    screen.send_keys("C-c", enter=False)
    assert len(parsed(screen.read())[0]) == 2
    assert terminals[0].typed == []


def test_an_output_without_its_start_has_no_prompt_before_it(terminals: list[Terminal]) -> None:
    screen = Screen(start(*STARTED, event()), "me")
    screen.send_keys("ls")
    screen.shell.poll()
    screen.shell.complete = False
    assert len(parsed(screen.read())[0]) == 1
    assert terminals[0].ran[-1] == "ls"


def test_an_interrupt_waits_for_the_end(terminals: list[Terminal]) -> None:
    screen = Screen(start(*STARTED, None, event(130)), "me")
    screen.interrupt()
    assert terminals[0].typed == []
    screen.send_keys("sleep 100")
    screen.interrupt()
    assert (terminals[0].typed, screen.shell.running) == (["<C-c>"], False)
