"""A bash in a terminal of its own (tmux), and the channel to it (``protocol``)."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from . import protocol
from .protocol import Event
from .startup import BUSYBOX

TMUX = "/openhands/bin/tmux"
COLUMNS, ROWS = 256, 200
# More lines than OpenHands passes on to an agent.
HISTORY_LINES = 50_000
# tmux forgets a tenth of the lines at once.
FORGOTTEN = 0.9
# Linux limits the path of a socket to 107 bytes (unix(7)).
FOLDER_CHARACTERS = 80
# A command line may have 128 KiB per word (execve(2)).
CHUNK_CHARACTERS = 10_000
TMUX_SECONDS = 60.0
POLL_SECONDS = 0.05
ENDED_POLLS = 40
# A terminal is slower than a program that prints, but not by this much without any progress.
QUIET_SECONDS, TITLE_SECONDS = 3.0, 0.01

Command = Callable[[Sequence[str]], Sequence[str]]


class Terminal:
    """One bash.

    Attributes:
        folder: The folder with the FIFOs.
        pid: The process ID of bash.
        device: The path of the terminal.
        running: Whether bash runs a command, or its start-up files.
        last_folder: The working folder that bash has left, if it ended by itself.
        reading: Whether bash has come as far as the user's own start-up file.
    """

    def __init__(
        self,
        bash: str,
        *,
        command: Command,
        environ: Mapping[str, str],
        work_folder: str,
        start_files: bool,
        uid: int | None = None,
        niceness: int = 0,
    ) -> None:
        """Starts bash.

        Args:
            bash: Its path.
            command: Returns the command line that runs the given one as the agent's user.
            environ: The environment of the terminal.
            work_folder: The working folder.
            start_files: Whether bash reads the base's start-up files.
            uid: The UID of the agent's user, if it is not the process's.
            niceness: What to add to the process's niceness.

        Raises:
            OSError: There is no folder for temporary files, or no terminal can be had.
        """
        self.folder = tempfile.mkdtemp(prefix="oh-shell-", dir=_temporary())
        self.running, self.reading = True, False
        self._waiting, self._starting, self.last_folder = "", False, ""
        self._rest = b""
        self._pipes: list[int] = []
        self._server = 0
        try:
            self._prepare(start_files=start_files, uid=uid)
            self._start(self._words(bash, start_files=start_files), command, environ, work_folder)
        except BaseException:
            self.close()
            raise
        if niceness:
            # Not the program nice, which a base may lack.
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
        os.write(self._lines, protocol.NO_FUNCTIONS.encode())
        self._feed()

    def _prepare(self, *, start_files: bool, uid: int | None) -> None:
        for name in (protocol.LINES, protocol.EVENTS, protocol.ANSWERS):
            os.mkfifo(f"{self.folder}/{name}", 0o600)
        self._write(protocol.START, protocol.start_file(self.folder, user_file=start_files))
        self._write(protocol.COMMAND, "")
        if uid is not None and uid != os.geteuid():
            for path in (self.folder, *(entry.path for entry in os.scandir(self.folder))):
                os.chown(path, uid, -1)
        for name in (protocol.LINES, protocol.EVENTS, protocol.ANSWERS):
            # Opened for both, so that opening does not wait and the other side never sees an end.
            self._pipes.append(os.open(f"{self.folder}/{name}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        self._lines, self._events, self._answers = self._pipes

    def _words(self, bash: str, *, start_files: bool) -> list[str]:
        # As inside tmux, so that a start-up file does not start another one. The variables are unset afterwards.
        inside = [BUSYBOX, "env", f"TMUX={self.folder}/tmux,1,0", "TMUX_PANE=%0"]
        if start_files:
            return [*inside, bash, "--noediting", "--rcfile", f"{self.folder}/{protocol.START}", "-i"]
        redirected = 'exec "$@" <"$0"'
        lines = f"{self.folder}/{protocol.LINES}"
        return [*inside, BUSYBOX, "sh", "-c", redirected, lines, bash, "--noediting", "--norc", "-i"]

    def _start(self, words: list[str], command: Command, environ: Mapping[str, str], work_folder: str) -> None:
        self._tmux(
            "start-server", ";", "set-option", "-g", "history-limit", str(HISTORY_LINES),
            ";", "set-option", "-g", "remain-on-exit", "on", ";", "set-option", "-g", "remain-on-exit-format", "",
            ";", "set-option", "-g", "status", "off",
            ";", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", _word(work_folder),
            "--", *map(_word, command(words)),
            environ=environ,
        )  # fmt: skip
        found = self._tmux("display-message", "-p", "#{pid} #{pane_pid} #{pane_tty}").split()
        if len(found) != 3:
            raise OSError("no terminal: tmux has ended")
        self._server, self.pid, self.device = int(found[0]), int(found[1]), found[2]

    def _feed(self) -> None:
        """Gives bash one more line."""
        os.write(self._lines, protocol.line(self.folder, self.device).encode())

    def run(self, text: str) -> None:
        """Runs a command. ``ended`` tells its end."""
        self._write(protocol.COMMAND, text)
        self.running = True
        # After a command, bash ends the line, and does what the base wants done at a prompt.
        self._answer(protocol.CLEAR if self._waiting == protocol.BEFORE else protocol.GO)

    def ended(self, seconds: float = 0.0) -> Event | None:
        """Returns the end of the command that runs; ``None`` if it still runs, or bash has ended.

        Args:
            seconds: How long to wait for it, in seconds.
        """
        until = time.monotonic() + seconds
        while True:
            # Before reading, because bash may report and end.
            alive = self.alive()
            found = [event for event in self._received() if self._ends(event)]
            if found or not alive or time.monotonic() >= until:
                break
            select.select([self._events], [], [], min(POLL_SECONDS, max(0.0, until - time.monotonic())))
        if not found:
            return None
        # It may have secrets in it. And if oh-prompt cannot be run, bash has nothing to repeat.
        self._write(protocol.COMMAND, "")
        self.running = False
        return found[-1]

    def _received(self) -> list[Event]:
        with suppress(BlockingIOError):
            while data := os.read(self._events, 65536):
                self._rest += data
        found, self._rest = protocol.events(self._rest)
        return found

    def _ends(self, event: Event) -> bool:
        """Whether an event is the end of the command that runs. Answers those before it."""
        if event.moment == protocol.READING:
            self.reading = True
            return False
        if event.moment == protocol.LEAVING:
            self.last_folder = event.folder
            return False
        self._waiting = event.moment
        if event.moment == protocol.BEFORE:
            self._feed()
            if self._starting:
                self._answer(protocol.CLEAR)
                return False
        return self.running

    def _answer(self, text: str) -> None:
        self._starting = text == protocol.GO
        self._waiting = ""
        os.write(self._answers, f"{text}\n".encode())

    def alive(self) -> bool:
        """Whether bash, or what it has replaced itself by, runs, and can be talked to."""
        return os.path.exists(f"/proc/{self.pid}") and not self.lost()

    def lost(self) -> bool:
        """Whether an agent has removed the folder."""
        return not os.path.isdir(self.folder)

    def work_folder(self) -> str:
        """Returns the working folder of bash; empty if it cannot be told."""
        try:
            return os.readlink(f"/proc/{self.pid}/cwd")
        except OSError:
            return ""

    def status(self) -> int:
        """Returns the exit code of bash, which has ended."""
        for _ in range(0 if self.lost() else ENDED_POLLS):
            found = self._tmux("display-message", "-p", "#{pane_dead} #{pane_dead_status} #{pane_dead_signal}")
            dead, status, number = [*found.rstrip("\n").split(" "), "", ""][:3]
            if dead == "1":
                return int(status) if status else 128 + int(number or 0)
            time.sleep(POLL_SECONDS)
        return 128 + 9

    def screen(self, title: str = "") -> tuple[str, bool]:
        """Returns the text on the screen and above it, and whether it is all there.

        Args:
            title: The title for which to wait.
        """
        seen, since = "", time.monotonic()
        while True:
            # Commands of one call see the same state of the terminal.
            found = self._tmux(
                "display-message", "-p", "#{history_size}\n#{pane_title}", ";", "capture-pane", "-p", "-J", "-S", "-"
            )
            size, shown, *lines = [*found.split("\n"), ""]
            if found != seen:
                seen, since = found, time.monotonic()
            # A program in the background may have set another title.
            if not title or shown == title or not self.alive() or time.monotonic() > since + QUIET_SECONDS:
                break
            time.sleep(TITLE_SECONDS)
        text = "\n".join(line.rstrip() for line in lines).rstrip("\n")
        return text, not (size and int(size) >= FORGOTTEN * HISTORY_LINES)

    def type(self, text: str) -> None:
        """Types text for the program that runs."""
        for start in range(0, len(text), CHUNK_CHARACTERS):
            self._tmux("send-keys", "-l", "--", _word(text[start : start + CHUNK_CHARACTERS]))

    def key(self, name: str) -> None:
        """Presses a key, by tmux's name for it."""
        self._tmux("send-keys", name)

    def close(self) -> None:
        """Ends bash and removes the folder. A second call does nothing."""
        # By its process ID, because an agent may have removed its socket.
        if self._server and _name(self._server).startswith("tmux"):
            with suppress(OSError):
                os.kill(self._server, signal.SIGTERM)
        self._server = 0
        while self._pipes:
            os.close(self._pipes.pop())
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, text: str) -> None:
        Path(f"{self.folder}/{name}").write_text(text, errors="surrogateescape")

    def _tmux(self, *words: str, environ: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            [TMUX, "-u", "-f", "/dev/null", "-S", f"{self.folder}/tmux", *words],
            env={} if environ is None else dict(environ), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=TMUX_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode and environ is not None:
            raise OSError(f"no terminal: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace")


def _word(text: str) -> str:
    """Returns a word of tmux's command line. A semicolon at the end of one would separate commands."""
    return f"{text[:-1]}\\;" if text.endswith(";") else text


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def _temporary() -> str | None:
    """Returns the folder for the session's folder: not the first one that a user empties, and with a short path."""
    for folder in ("/dev/shm", tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if len(folder) < FOLDER_CHARACTERS and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None
