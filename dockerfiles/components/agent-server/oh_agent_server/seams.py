"""Changes a few functions of the agent-server when it imports them. ``check-seams`` tests in the build that they exist.

The functions are found by name, not by their text, so that they are found in many versions of the server.
"""

from __future__ import annotations

import functools
import gc
import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from oh_container import prompts
from oh_container.environment import base

from . import parts, terminal
from .variables import agent_environment

Change = Callable[[Any], Any]

# Packages with hundreds of models, most of which a server never uses.
DEFERRED = ("litellm", "acp", "browser_use", "openhands")
# Collecting garbage takes a quarter of the start, because imports create objects and free few. Afterwards, what was
# created is left out of every collection. CPython's defaults are 2000, 10 and 0 (or 10).
GC_AT_START = (200_000, 50, 1_000_000)
GC_AFTERWARDS = (2_000, 10, 10)
# How long a tab of the browser may take to start.
TAB_SECONDS = 30.0
# How long a connection to the browser may take, its first tab included, and what browser_use grants for it.
CONNECTION_SECONDS, THEIR_CONNECTION_SECONDS = 60.0, 15.0


# The server's environment when it started.
_before: dict[str, str] = {}


def _agents() -> dict[str, str]:
    """Returns the environment of programs that are run for an agent: the container's, and what was set since then."""
    changed = {name: value for name, value in os.environ.items() if _before.get(name) != value}
    return agent_environment(base(os.environ), changed)


def _environment(original: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    """Gives programs that are run for an agent the container's environment instead of the server's."""

    @functools.wraps(original)
    def sanitized_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
        return original(_agents() if env is None else env)

    return sanitized_env


class _Module:
    """A module with some of its names replaced, by those that a subclass has."""

    def __init__(self, original: ModuleType) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Os(_Module):
    """The module ``os`` with the environment of programs that are run for an agent."""

    @property
    def environ(self) -> dict[str, str]:
        return _agents()


def _always(value: object) -> Change:
    """Replaces a function by one that returns a value, or a constant by the value."""
    return lambda original: functools.wraps(original)(lambda *_: value) if callable(original) else value


def _first(original: Callable[..., str]) -> Callable[..., str]:
    """Replaces a function by one that returns its first argument."""
    return functools.wraps(original)(lambda text, *_: text)


def _deferred(original: Callable[..., Any]) -> Callable[..., Any]:
    """Builds the models of some packages when they are first used (pydantic's ``defer_build``)."""

    @functools.wraps(original)
    def for_model(cls: type[Any], bases: object, namespace: Mapping[str, Any], *more: Any, **named: Any) -> Any:
        config = original(cls, bases, namespace, *more, **named)
        if namespace.get("__module__", "").partition(".")[0] in DEFERRED:
            config.config_dict.setdefault("defer_build", True)
        return config

    return for_model


def _collected(original: Callable[[], Any]) -> Callable[[], Any]:
    """Collects garbage as usual once the server is ready."""

    @functools.wraps(original)
    def mark_initialization_complete() -> Any:
        gc.freeze()
        gc.set_threshold(*GC_AFTERWARDS)
        return original()

    return mark_initialization_complete


def _patient(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Waits for a tab that Chromium lists. browser_use grants its process two seconds, too few on a busy machine."""

    @functools.wraps(original)
    async def get_or_create_cdp_session(self: Any, target_id: str | None = None, *more: Any, **named: Any) -> Any:
        end = time.monotonic() + TAB_SECONDS
        while True:
            try:
                return await original(self, target_id, *more, **named)
            except ValueError:
                listed = (await self._cdp_client_root.send.Target.getTargets())["targetInfos"]
                if time.monotonic() > end or all(target["targetId"] != target_id for target in listed):
                    raise

    return get_or_create_cdp_session


class _Asyncio(_Module):
    """The module ``asyncio`` with more time for a connection to the browser, whose limit is a constant."""

    async def wait_for(self, awaitable: Awaitable[Any], timeout: float | None) -> Any:
        longer = CONNECTION_SECONDS if timeout == THEIR_CONNECTION_SECONDS else timeout
        return await self._original.wait_for(awaitable, longer)


SEAMS: dict[str, dict[str, Change]] = {
    "openhands.sdk.utils.command": {"sanitized_env": _environment},
    # Agents' own programs, and the configuration of MCP servers, which may name any variable.
    "openhands.sdk.agent.acp_agent": {"os": _Os},
    "openhands.sdk.skills.utils": {"os": _Os},
    # The agent's shell.
    "openhands.tools.terminal.constants": {
        "CMD_OUTPUT_PS1_BEGIN": _always(prompts.BEGIN),
        "CMD_OUTPUT_PS1_END": _always(prompts.END),
        "CMD_OUTPUT_METADATA_PS1_REGEX": _always(prompts.PATTERN),
    },
    "openhands.tools.terminal.utils.command": {
        "escape_bash_special_chars": _first,
        "needs_heredoc_completion_boundary": _always(False),
    },
    "openhands.tools.terminal.terminal.factory": {"_is_tmux_available": _always(True)},
    "openhands.tools.terminal.terminal.tmux_terminal": {"TmuxTerminal": terminal.terminal},
    "openhands.tools.terminal.terminal.tmux_pane_pool": {
        "PooledTmuxTerminal": terminal.pooled,
        "TmuxPanePool": terminal.pool,
    },
    "openhands.tools.terminal.terminal.terminal_session": {"_remove_command_prefix": _first},
    # Each terminal has a tmux of its own, which ends with the container.
    "openhands.agent_server.api": {"_cleanup_stale_tmux_sessions": _always(None)},
    "openhands.agent_server.server_details_router": {
        "mark_initialization_complete": _collected,
        "server_details_router": parts.reported,
    },
    # Parts that fail.
    "openhands.agent_server.vscode_service": {
        "VSCodeService.start": parts.vscode_started,
        "VSCodeService._wait_for_startup": parts.vscode_waited_for,
    },
    "openhands.tools.browser_use.impl": {"BrowserToolExecutor._ensure_initialized": parts.browser_started},
    "browser_use.browser.session": {
        "BrowserSession.get_or_create_cdp_session": _patient,
        "asyncio": _Asyncio,
    },
    "pydantic._internal._config": {"ConfigWrapper.for_model": _deferred},
}
"""Module → function, class, variable or method in it → the change."""
OPTIONAL = ("needs_heredoc_completion_boundary",)
"""Those that some versions lack."""


# Modules that do without lmnr, which takes a twentieth of the start. It is for tracing.
WITHOUT_LMNR = ("browser_use.observability", "browser_use.tools.service")
_LMNR = "lmnr"
_TRACING = ("LMNR_", "OTEL_")


def _hidden(module: str, environ: Mapping[str, str]) -> str:
    """Returns the package that a module must not find, because it would be imported for nothing; empty if none."""
    tracing = any(name.startswith(_TRACING) for name in environ)
    return _LMNR if module in WITHOUT_LMNR and not tracing else ""


class _Loader(importlib.abc.Loader):
    """Loads a module, then changes its functions."""

    def __init__(self, loader: importlib.abc.Loader, changes: Mapping[str, Change], hidden: str) -> None:
        self._loader, self._changes, self._hidden = loader, changes, hidden

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        hide = bool(self._hidden) and self._hidden not in sys.modules
        if hide:
            sys.modules[self._hidden] = None  # type: ignore[assignment]  # importing it raises ImportError
        try:
            self._loader.exec_module(module)
        finally:
            if hide:
                del sys.modules[self._hidden]
        for path, change in self._changes.items():
            owner, _, name = path.rpartition(".")
            holder = getattr(module, owner) if owner else module
            found = holder.__dict__.get(name)
            if found is None:
                continue
            method = isinstance(found, classmethod)
            changed = change(found.__func__ if method else found)
            setattr(holder, name, classmethod(changed) if method else changed)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, seams: Mapping[str, Mapping[str, Change]]) -> None:
        self._seams = seams

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        hidden = _hidden(fullname, os.environ)
        if fullname not in self._seams and not hidden:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._seams.get(fullname, {}), hidden)
        return spec


def install(seams: Mapping[str, Mapping[str, Change]] = SEAMS) -> None:
    """Changes the functions of modules that are imported from now on, and collects less garbage during the start."""
    gc.set_threshold(*GC_AT_START)
    _before.clear()
    _before.update(os.environ)
    sys.meta_path.insert(0, _Finder(seams))
