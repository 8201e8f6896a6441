"""Runs commands. The engine runs all of its commands through this module.

Short commands (`ask`) have a time limit. Long jobs (`work`) report their output line by line, keep it in a log, and die
with us: they run in their own sessions, and are killed when we are interrupted, or by the kernel if we are killed.
Daemons (`launch`) are the opposite: nothing that happens to us affects them.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ohbuild.signals import signals_interrupt

# Kills a command together with us. With its own PID namespace, its descendants are killed too. With its own mount
# namespace, no mount is left behind, even after SIGKILL.
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_ISOLATED = (*_DIES_WITH_US, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--")
_TAIL_LINES = 12


@dataclass(frozen=True)
class Answer:
    """The result of a short command.

    Attributes:
        code: Exit code.
        out: Standard output, stripped.
        err: Standard error, stripped.
    """

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether the command ended with exit code 0."""
        return self.code == 0

    @property
    def last(self) -> str:
        """The last line of its errors, or else of its output; its exit code if it printed nothing."""
        return last_line(self.err) or last_line(self.out) or f"exit code {self.code}"


def last_line(text: str) -> str:
    """Returns the last line that is not blank, stripped; empty if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def ask(
    argv: Sequence[str | Path],
    *,
    timeout: float = 10,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Answer:
    """Runs a short command and returns its result.

    As with a shell and timeout(1), the exit code is 127 if the command does not exist, 126 if it cannot be run, and 124
    if it times out. No exception is raised.

    Args:
        argv: The command and its arguments.
        timeout: Time limit in seconds.
        env: Environment variables to add to our own.
        cwd: Working folder; the current one by default.
    """
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
            # Ctrl-C must reach only us: commands that we run to clean up must complete.
            start_new_session=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
    except FileNotFoundError:
        return Answer(127, "", f"{argv[0]}: not found")
    except OSError as error:
        return Answer(126, "", f"{argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Answer(124, "", f"{argv[0]}: no response within {timeout:g} s")
    return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())


@dataclass(frozen=True, kw_only=True)
class Job:
    """A long command.

    Attributes:
        argv: The command and its arguments.
        log: File for its output; overwritten.
        env: Environment variables to add to our own.
        on_line: Called with each line of output.
        isolated: Whether it runs in its own mount and PID namespaces (requires root), so that nothing is left behind.
    """

    argv: tuple[str | Path, ...]
    log: Path
    env: Mapping[str, str] | None = None
    on_line: Callable[[str], None] = lambda _line: None
    isolated: bool = False


class JobFailed(Exception):
    """A job ended with a non-zero exit code.

    Args:
        job: The job that failed.
        code: Its exit code.
    """

    def __init__(self, job: Job, code: int) -> None:
        super().__init__(f"{job.argv[0]} failed with exit code {code}")
        self.job = job
        self.code = code


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """Returns the last non-empty lines of a file, indented; empty if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    kept = [line for line in text.replace("\r", "\n").split("\n") if line.strip()][-lines:]
    return "\n".join("    " + line for line in kept)


def work(*jobs: Job) -> None:
    """Runs jobs in parallel to completion. If one fails, the others are killed.

    Raises:
        JobFailed: A job failed; it is the first one that did.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP, after all jobs have been killed.
    """
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    with contextlib.ExitStack() as stack, signals_interrupt():
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
        job.log.write_text(f"{error.filename}: not found\n", encoding="utf-8")
        raise JobFailed(job, 127) from None


def _lines(rest: bytearray, chunk: bytes, on_line: Callable[[str], None]) -> None:
    rest += chunk
    *whole, last = bytes(rest).replace(b"\r", b"\n").split(b"\n")
    rest[:] = last
    for line in whole:
        if line.strip():
            on_line(line.decode(errors="replace").rstrip())


def _kill(job: Job, process: subprocess.Popen[bytes]) -> None:
    """Kills a job. An isolated one dies at once; any other (apt) first gets time to finish its work."""
    with contextlib.suppress(ProcessLookupError):
        if not job.isolated:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one with the same PID.

    Attributes:
        pid: PID.
        started: Start time in clock ticks since boot, field 22 of /proc/PID/stat; see proc(5).
        boot: Boot ID of the kernel; see proc(5).
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Returns the process that has this PID now; ``None`` if there is none or it is a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        # fields[0] is field 3 of stat(5), the state
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), boot)

    @property
    def alive(self) -> bool:
        """Whether this process is still running."""
        return Process.of(self.pid) == self

    def stop(self, patience: float) -> bool:
        """Sends SIGTERM, and SIGKILL if the process has not ended after ``patience`` seconds.

        Returns:
            Whether it has ended.
        """
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
        # Open a descriptor of the process before the check, so that the PID cannot be reused in between.
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
    """Starts a daemon that outlives us, in its own session, with no terminal and no inherited environment or files.

    Args:
        argv: The command and its arguments.
        out: File to append its standard output to.
        err: File to append its standard error to.
        env: Its complete environment.

    Returns:
        The process; ``None`` if it has already ended.
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
    # We never wait for it. Without this, Python emits a ResourceWarning when the object is deleted.
    process.returncode = 0
    return Process.of(process.pid)


def find_by_argument(prefix: str, programs: frozenset[str]) -> list[Process]:
    """Returns the processes of the given programs with an argument that starts with ``prefix``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name in programs and any(word.startswith(prefix) for word in words[1:]):
                found.append(Process.of(int(folder.name)))
    return [process for process in found if process]
