"""The parts of the server that may fail, VS Code and the browser, and why they did. ``/server_info`` lists them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from oh_container import startup

BROWSER, VSCODE = "browser", "vscode"
# How much of VS Code's output is kept, and how long a program may take to end that has closed its output.
KEPT_BYTES, END_SECONDS = 4096, 5.0
# OpenHands' ``VSCodeService``, and the reasons of parts that failed to start.
_services: list[Any] = []
_reasons: dict[str, str] = {}
# The end of VS Code's output, and what reads it.
_output = bytearray()
_tasks: set[asyncio.Task[None]] = set()

Method = Callable[..., Coroutine[Any, Any, Any]]


def failed() -> dict[str, str]:
    """Returns the parts that do not work, with the reasons."""
    found = dict(_reasons)
    for service in _services:
        if reason := _ended(service):
            found[VSCODE] = reason
    return found


def reported(router: Any) -> Any:
    """Adds ``failed_parts`` to the answer of ``/server_info``.

    Args:
        router: The ``APIRouter`` with that route.
    """
    from pydantic import create_model

    for route in [route for route in router.routes if route.path == "/server_info"]:
        router.routes.remove(route)
        model = create_model("ServerInfo", __base__=route.response_model, failed_parts=(dict[str, str], {}))
        router.add_api_route(route.path, _with_failed(route.endpoint), response_model=model)
    return router


def _with_failed(original: Method) -> Method:
    @functools.wraps(original)
    async def get_server_info(*words: Any, **named: Any) -> dict[str, Any]:
        return {**(await original(*words, **named)).model_dump(), "failed_parts": failed()}

    return get_server_info


def vscode_started(original: Method) -> Method:
    """Notes why VS Code did not start, where OpenHands only logs it, or logs that it did. Reads its output to the end.

    OpenHands stops reading when VS Code has started, which then waits for ever once the pipe is full.
    """

    @functools.wraps(original)
    async def start(self: Any) -> Any:
        _services[:] = [self]
        _reasons.pop(VSCODE, None)
        result = await original(self)
        if self.process is None and self._check_vscode_available():
            free = await self._is_port_available()
            _reasons[VSCODE] = "the server's log says why" if free else f"port {self.port} is not available"
        elif self.process is not None:
            task = asyncio.create_task(_read(self.process.stdout))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)
        if reason := failed().get(VSCODE):
            startup.say(f"{VSCODE} does not work: {reason}")
        return result

    return start


def vscode_waited_for(original: Method) -> Method:
    """Keeps what VS Code prints while OpenHands waits for it to start. If it ends, waits for its exit code."""

    @functools.wraps(original)
    async def _wait_for_startup(self: Any) -> Any:
        process, stdout = self.process, self.process.stdout
        readline = stdout.readline
        _output.clear()

        async def kept() -> bytes:
            line: bytes = await readline()
            _output.extend(line)
            if not line:
                await asyncio.wait_for(process.wait(), END_SECONDS)
            return line

        stdout.readline = kept
        try:
            return await original(self)
        finally:
            del stdout.readline

    return _wait_for_startup


def browser_started(original: Method) -> Method:
    """Notes why the browser did not start, until it does."""

    @functools.wraps(original)
    async def _ensure_initialized(self: Any) -> Any:
        try:
            result = await original(self)
        except asyncio.CancelledError:
            _reasons[BROWSER] = "it did not start in the time that the action had"
            raise
        except Exception as error:
            _reasons[BROWSER] = _last(str(error)) or type(error).__name__
            raise
        _reasons.pop(BROWSER, None)
        return result

    return _ensure_initialized


async def _read(stdout: asyncio.StreamReader) -> None:
    while chunk := await stdout.read(KEPT_BYTES):
        _output.extend(chunk)
        del _output[:-KEPT_BYTES]


def _ended(service: Any) -> str:
    """Returns how VS Code ended; empty if it runs or was never started."""
    process = service.process
    if process is None or process.returncode is None:
        return ""
    last = _last(_output.decode(errors="replace"))
    return f"it ended with exit code {process.returncode}" + (f": {last}" if last else "")


def _last(text: str) -> str:
    return text.strip().rpartition("\n")[2]
