"""OpenHands' classes of both servers with our shell in place of theirs."""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
from oh_agent_server import terminal as agent_terminal
from oh_runtime import terminal as runtime_terminal
from oh_runtime import users

Made = list[dict[str, Any]]


class Shell:
    """A shell that runs nothing."""

    running = False

    def __init__(self, made: Made, bash: str, **options: Any) -> None:
        made.append({"bash": bash, **options, "shell": self})
        self.closed = False
        self.sent: list[str] = []

    def close(self) -> None:
        self.closed = True


class Screen:
    """A screen that writes down what is sent to it."""

    def __init__(self, shell: Shell, username: str, wait: float = 0.0) -> None:
        assert username
        self.shell, self.wait = shell, wait

    def send_keys(self, text: str, enter: bool = True) -> None:
        self.shell.sent.append(f"{text}{enter}")

    def interrupt(self) -> None:
        self.shell.sent.append("interrupt")

    def read(self) -> str:
        return "screen"

    def clear(self) -> None:
        self.shell.sent.append("clear")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    shells: Made = []
    for module in (agent_terminal, runtime_terminal):
        monkeypatch.setattr(module, "Shell", lambda bash, **options: Shell(shells, bash, **options))
        monkeypatch.setattr(module, "Screen", Screen)
        monkeypatch.setattr(module, "bash", lambda *_: "/bin/bash")
    agent_terminal._bash.cache_clear()
    return shells


# --- the agent-server ---


class TmuxTerminal:
    """What our class needs of OpenHands'."""

    def __init__(self, work_dir: str, username: str | None = None, env: dict[str, str] | None = None) -> None:
        self.work_dir, self.username, self._env = work_dir, username, env
        self._initialized = self._closed = False


class TmuxPanePool:
    """What our class needs of OpenHands'."""

    def __init__(self) -> None:
        self.work_dir, self.username, self.env = "/w", None, {"A": "1"}
        self._all_panes: list[Any] = []
        self._lock = threading.Lock()
        self._semaphore = threading.Semaphore(1)
        self._initialized = self._closed = False

    def checkout(self, timeout: float | None = None) -> Any:
        if not self._semaphore.acquire(timeout=timeout):
            raise TimeoutError
        return self._create_pane()

    def _create_pane(self) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        self._closed = True


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with OpenHands' classes, changed as when the server imports it."""
    found = ModuleType("theirs")
    monkeypatch.setitem(sys.modules, "theirs", found)
    for original in (TmuxTerminal, TmuxPanePool):
        monkeypatch.setattr(original, "__module__", "theirs")
    names = vars(found)
    names["build_terminal_env"] = lambda env: {"PATH": "/bin", **env}
    names["TmuxTerminal"] = agent_terminal.terminal(TmuxTerminal)
    pooled = type("PooledTmuxTerminal", (names["TmuxTerminal"],), {"close": lambda self: self.window.kill()})
    names["PooledTmuxTerminal"] = agent_terminal.pooled(pooled)
    names["TmuxPanePool"] = agent_terminal.pool(TmuxPanePool)
    return found


def test_a_terminal_has_a_shell_with_the_agents_environment(made: Made, module: ModuleType) -> None:
    terminal = vars(module)["TmuxTerminal"]("/w", env={"OH_TERMINAL_PROCESS_PRIORITY": "none"})
    assert not terminal.is_running()
    terminal.initialize()
    terminal.initialize()
    (shell,) = made
    assert (shell["bash"], shell["folder"], shell["niceness"]) == ("/bin/bash", "/w", 0)
    assert shell["environ"] == {"PATH": "/bin", "OH_TERMINAL_PROCESS_PRIORITY": "none"}
    assert shell["command"](["bash"])[-2:] == ["PATH=/bin", "bash"]
    terminal.send_keys("ls")
    terminal.send_keys("C-c", enter=False)
    terminal.clear_screen()
    assert terminal.interrupt()
    assert shell["shell"].sent == ["lsTrue", "C-cFalse", "clear", "interrupt"]
    assert terminal.read_screen() == "screen"
    terminal.close()
    assert shell["shell"].closed


def test_terminals_of_a_pool_end_one_by_one(made: Made, module: ModuleType) -> None:
    pool = vars(module)["TmuxPanePool"]()
    pool.initialize()
    assert pool._initialized
    first, second = pool._create_pane(), pool._create_pane()
    pool._all_panes = [first, second]
    third = pool.replace(first)
    assert pool._all_panes == [second, third]
    assert [shell["shell"].closed for shell in made] == [True, False, False]
    pool.close()
    assert [shell["shell"].closed for shell in made] == [True, True, True]
    assert pool._closed


# --- the action execution server ---


class BashSession:
    """What our function needs of OpenHands'."""

    def __init__(self, username: str | None) -> None:
        self.work_dir, self.username = "/w", username

    def initialize(self) -> None:
        raise AssertionError("replaced")

    def close(self) -> None:
        raise AssertionError("replaced")


def test_a_session_has_a_shell_as_the_agents_user(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_numbers", {"agent": 1234})
    runtime_terminal.install(BashSession, lambda session: session.username)
    session: Any = BashSession("agent")
    session.close()
    session = BashSession("agent")
    session.initialize()
    (shell,) = made
    assert (shell["folder"], shell["uid"]) == ("/w", 1234)
    assert shell["command"](["bash", "-i"]) == ["/openhands/libexec/oh-as", "agent:1234", "bash", "-i"]
    assert (session.prev_status, session.prev_output, session._cwd, session._initialized) == (None, "", "/w", True)
    assert session._get_pane_content() == "screen"
    session._clear_screen()
    assert shell["shell"].sent == ["clear"]
    session.close()
    session.close()
    assert shell["shell"].closed


def test_a_terminal_that_does_not_start_leaves_its_place_to_the_next_one(
    made: Made, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = vars(module)["TmuxPanePool"]()
    pool.initialize()
    monkeypatch.setattr(agent_terminal, "Shell", Mock(side_effect=OSError("no tmux")))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="the agent's shell does not start: no tmux"):
            pool.checkout(timeout=0.01)
    monkeypatch.undo()
    monkeypatch.setattr(agent_terminal, "_bash", lambda: "/bin/bash")
    monkeypatch.setattr(agent_terminal, "Shell", Mock())
    assert pool.checkout(timeout=0.01).is_running()
    with pytest.raises(TimeoutError):
        pool.checkout(timeout=0.01)
