"""The parts of the server that may be missing or may fail: agent plug-ins and the browser."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from oh_container import startup

_SITE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A file or folder by which each one is detected.
_PLUGINS = {
    "agent_skills": os.path.join(_SITE, "openhands"),
    "jupyter": os.path.join(_SITE, "kernel_gateway"),
    "vscode": "/openhands/.openvscode-server/bin/openvscode-server",
}
_BROWSER = os.path.join(_SITE, "playwright")
BROWSER = "browser"
failures: dict[str, str] = {}
"""Parts that have failed to start, with the reasons. ``/server_info`` reports them."""


def plugins() -> list[str]:
    """Returns the names of the agent plug-ins in this image."""
    return [name for name, path in _PLUGINS.items() if os.path.exists(path)]


def browser() -> bool:
    """Whether this image has a browser."""
    return os.path.exists(_BROWSER)


def checked(asked: Iterable[str] | None) -> list[str]:
    """Returns the requested agent plug-ins.

    Raises:
        SystemExit: The image lacks one of them.
    """
    names = list(asked or ())
    missing = [name for name in names if name in _PLUGINS and name not in plugins()]
    if missing:
        sys.exit(
            f"plug-in {missing[0]!r} is not in this image (available: {', '.join(plugins()) or 'none'}; "
            "see the label dev.ohbuild.plugins)"
        )
    return names


async def initialize(plugins: Iterable[Any], start: Callable[[Any], Coroutine[Any, Any, None]], seconds: float) -> None:
    """Starts agent plug-ins side by side. One that fails does not take the others along.

    Args:
        plugins: The plug-ins.
        start: Starts a plug-in.
        seconds: How long one may take, in seconds.
    """
    await asyncio.gather(*(_initialize(plugin.name, start(plugin), seconds) for plugin in plugins))


async def _initialize(name: str, starting: Coroutine[Any, Any, None], seconds: float) -> None:
    begin = time.monotonic()
    startup.say(f"waiting for {name}")
    try:
        await asyncio.wait_for(starting, seconds)
    except TimeoutError:
        failures[name] = f"it did not start within {seconds:g} s"
    except Exception as error:
        failures[name] = str(error) or type(error).__name__
    else:
        startup.say(f"{name} is ready after {time.monotonic() - begin:.1f} s")
        return
    startup.say(f"{name} does not work: {failures[name]}")


async def next_line(process: asyncio.subprocess.Process, before: str) -> bytes:
    """Returns the next line that a program writes.

    Args:
        process: The program.
        before: What it has written so far.

    Raises:
        RuntimeError: It has ended.
    """
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        last = before.strip().rpartition("\n")[2]
        raise RuntimeError(f"it ended with exit code {await process.wait()}" + (f": {last}" if last else ""))
    return line


def answers(side: Connection, process: BaseProcess, seconds: float) -> bool:
    """Waits for an answer of another process; not if that has ended.

    Args:
        side: Our end of the pipe.
        process: The other process.
        seconds: How long to wait, in seconds.
    """
    end = time.monotonic() + seconds
    while not side.poll(0.2):
        if not process.is_alive() or time.monotonic() > end:
            return side.poll(0)
    return True


def browser_failed() -> None:
    """Notes that the browser does not start."""
    failures[BROWSER] = "it does not start; the server's log and `oh-doctor` say why"
    startup.say(f"the browser does not work: {failures[BROWSER]}")


async def no_browser(executor: Any) -> str:
    """Starts the browser if it is not running yet. Returns the error for the agent if there is none, or else nothing.

    Args:
        executor: OpenHands' ``ActionExecutor``.
    """
    text = "Browser functionality is not supported or disabled."
    if not browser():
        return f"{text} This image was built without a browser (component playwright)."
    if not executor.enable_browser:
        return text
    try:
        await executor._ensure_browser_ready()
    except Exception as error:
        return f"The browser does not work: {failures.get(BROWSER) or error}"
    return ""


def no_jupyter() -> str:
    """Returns the error for an agent that uses IPython when there is none."""
    if reason := failures.get("jupyter"):
        return f"IPython does not work: {reason}"
    return "JupyterRequirement not found. Unable to run IPython action."
