"""Runs commands, and is the only module of the engine that does.

Short questions (`ask`) are answered within a time limit. Long work (`work`) shows its lines as they come, keeps
them in a log, and dies with us: it runs in a session of its own, is killed when we are interrupted, and by the
kernel if we are killed. Daemons (`launch`) are the opposite: nothing that happens to us reaches them.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

# What kills a command together with us. In a PID namespace of its own every descendant goes too, and in a mount
# namespace of its own no mount of it is left behind, even after SIGKILL.
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_ISOLATED = (*_DIES_WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--")
_TAIL_LINES = 12


@dataclass(frozen=True)
class Answer:
    """What a short command said."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether the command ended with exit code 0."""
        return self.code == 0


def ask(argv: Sequence[str | Path], *, timeout: float = 10, env: Mapping[str, str] | None = None) -> Answer:
    """Run a short command and return what it said.

    A command that is missing, cannot be run or takes longer than `timeout` seconds is an answer with code 127, 126
    or 124, as a shell and timeout(1) have it, never an exception.

    Args:
        argv: the command and its arguments.
        env: added to our own environment.
    """
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            # Ctrl-C is for us alone: what we ask while we clean up has to come to its end.
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    except FileNotFoundError:
        return Answer(127, "", f"{argv[0]}: not found")
    except OSError as error:
        return Answer(126, "", f"{argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Answer(124, "", f"{argv[0]}: no answer within {timeout:g} s")
    return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())


@dataclass(frozen=True, kw_only=True)
class Job:
    """One long command.

    Args:
        argv: the command and its arguments.
        log: file that gets its output (written anew).
        env: added to our own environment.
        on_line: called with each line it writes.
        isolated: whether it gets its own mount and PID namespaces (needs root), so that nothing of it can be left.
    """

    argv: tuple[str | Path, ...]
    log: Path
    env: Mapping[str, str] | None = None
    on_line: Callable[[str], None] = lambda _line: None
    isolated: bool = False


class JobFailed(Exception):
    """A job ended with an exit code other than 0."""

    def __init__(self, job: Job, code: int) -> None:
        super().__init__(f"{job.argv[0]} ended with code {code}")
        self.job = job
        self.code = code


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last non-empty lines of a file, indented; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    kept = [line for line in text.replace("\r", "\n").split("\n") if line.strip()][-lines:]
    return "\n".join("    " + line for line in kept)


def work(*jobs: Job) -> None:
    """Run jobs at the same time, to their end; one that fails stops the others.

    Raises:
        JobFailed: the first job that failed.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the jobs are gone then.
    """
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    with contextlib.ExitStack() as stack, _signals_interrupt():
        selector = stack.enter_context(selectors.DefaultSelector())
        try:
            for job in jobs:
                job.log.parent.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(job.log.open("wb"))
                process = _start(job)
                assert process.stdout is not None
                running[process.pid] = (job, process)
                selector.register(process.stdout, selectors.EVENT_READ, (job, process, log, bytearray()))
            while selector.get_map():
                for key, _ in selector.select(timeout=1):
                    job, process, log, rest = key.data
                    chunk = os.read(key.fd, 65536)
                    if chunk:
                        log.write(chunk)
                        log.flush()
                        _lines(rest, chunk, job.on_line)
                        continue
                    selector.unregister(key.fileobj)
                    code = process.wait()
                    process.stdout.close()
                    del running[process.pid]
                    if code:
                        raise JobFailed(job, code)
        finally:
            for job, process in running.values():
                _kill(job, process)


def _start(job: Job) -> subprocess.Popen[bytes]:
    prefix = _ISOLATED if job.isolated else _DIES_WITH_US if os.geteuid() == 0 else ()
    try:
        return subprocess.Popen(
            [*prefix, "nice", "-n", "10", *(str(word) for word in job.argv)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(job.env or {})},
        )
    except FileNotFoundError as error:
        job.log.write_text(f"{error.filename}: not found\n")
        raise JobFailed(job, 127) from None


def _lines(rest: bytearray, chunk: bytes, on_line: Callable[[str], None]) -> None:
    rest += chunk
    *whole, last = bytes(rest).replace(b"\r", b"\n").split(b"\n")
    rest[:] = last
    for line in whole:
        if line.strip():
            on_line(line.decode(errors="replace").rstrip())


def _kill(job: Job, process: subprocess.Popen[bytes]) -> None:
    """End a job. One in its own namespaces dies at once; another (apt) may first bring its work to an end."""
    with contextlib.suppress(ProcessLookupError):
        if not job.isolated:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP clean up as Ctrl-C does, for as long as this lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one of the same number.

    `started` is field 22 of /proc/PID/stat (clock ticks since boot), `boot` the kernel's boot id; see proc(5).
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process of that number now, or None if there is none or it is only waiting to be reaped."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        # fields[0] is field 3 of stat(5), the state
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), boot)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self

    def stop(self, patience: float) -> bool:
        """Ask it to end, and end it after `patience` seconds; whether it is gone by then."""
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
            self._signal(number)
            until = time.monotonic() + seconds
            while self.alive:
                if time.monotonic() > until:
                    break
                time.sleep(0.05)
            else:
                return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        # A file descriptor of the process first, then the check: so the number cannot be reused in between.
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def launch(argv: Sequence[str | Path], *, out: Path, err: Path, env: Mapping[str, str]) -> Process | None:
    """Start a daemon that outlives us: its own session, no terminal, no inherited environment or files.

    Args:
        out, err: files its standard output and error are appended to.
        env: its whole environment.

    Returns:
        The process, or None if it has ended already.
    """
    with out.open("ab") as out_file, err.open("ab") as err_file:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
            start_new_session=True,
            cwd="/",
            env=dict(env),
        )
    # We never wait for it; without this Python would warn of that when the object goes.
    process.returncode = 0
    return Process.of(process.pid)


def find_by_argument(prefix: str, programs: frozenset[str]) -> list[Process]:
    """Processes of the given programs with an argument that starts with `prefix`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name in programs and any(word.startswith(prefix) for word in words[1:]):
                found.append(Process.of(int(folder.name)))
    return [process for process in found if process]
