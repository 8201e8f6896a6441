"""The parts of the action execution server that may be missing or may fail."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from oh_runtime import parts


@dataclass
class Executor:
    """Stands in for OpenHands' ``ActionExecutor``."""

    enable_browser: bool = True
    error: str = ""

    async def _ensure_browser_ready(self) -> None:
        if self.error:
            parts.browser_failed()
            raise RuntimeError(self.error)


@dataclass
class Plugin:
    name: str


@pytest.fixture(autouse=True)
def failures() -> Iterator[dict[str, str]]:
    parts.failures.clear()
    yield parts.failures
    parts.failures.clear()


def test_what_the_image_was_made_without_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openhands", "kernel_gateway"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(
        parts, "_PLUGINS", {name: str(tmp_path / file) for name, file in
        (("agent_skills", "openhands"), ("jupyter", "kernel_gateway"), ("vscode", "openvscode-server"))},
    )  # fmt: skip
    monkeypatch.setattr(parts, "_BROWSER", str(tmp_path / "playwright"))
    assert parts.plugins() == ["agent_skills", "jupyter"]
    assert parts.checked(["jupyter", "one of somebody's"]) == ["jupyter", "one of somebody's"]
    assert parts.checked(None) == []
    with pytest.raises(SystemExit, match=r"plug-in 'vscode' is not in this image \(available: agent_skills, jupyter; "):
        parts.checked(["jupyter", "vscode"])
    assert not parts.browser()
    assert asyncio.run(parts.no_browser(Executor())).endswith("built without a browser (component playwright).")
    (tmp_path / "playwright").mkdir()
    assert parts.browser()
    off = Executor(enable_browser=False)
    assert asyncio.run(parts.no_browser(off)) == "Browser functionality is not supported or disabled."


def test_a_part_that_fails_does_not_take_the_others_along(
    failures: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    ready: list[str] = []

    async def start(plugin: Plugin) -> None:
        if plugin.name == "slow":
            await asyncio.sleep(60)
        if plugin.name in ("odd", "silent"):
            raise RuntimeError("no kernel" if plugin.name == "odd" else "")
        ready.append(plugin.name)

    asyncio.run(parts.initialize(map(Plugin, ["slow", "odd", "silent", "good"]), start, 0.2))
    assert ready == ["good"]
    assert failures == {"slow": "it did not start within 0.2 s", "odd": "no kernel", "silent": "RuntimeError"}
    log = capsys.readouterr().err
    assert "waiting for good" in log
    assert "good is ready after 0.0 s" in log
    assert "odd does not work: no kernel" in log


def test_a_program_that_has_ended_is_not_waited_for() -> None:
    async def read() -> list[bytes]:
        process = await asyncio.create_subprocess_exec("sh", "-c", "echo one; exit 3", stdout=asyncio.subprocess.PIPE)
        lines = [await parts.next_line(process, "")]
        with pytest.raises(RuntimeError, match=r"^it ended with exit code 3: one$"):
            await parts.next_line(process, "zero\none\n")
        with pytest.raises(RuntimeError, match=r"^it ended with exit code 3$"):
            await parts.next_line(process, "")
        return lines

    assert asyncio.run(read()) == [b"one\n"]


def test_a_process_that_has_ended_does_not_answer() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    begin = time.monotonic()
    process = context.Process(target=os._exit, args=(1,))
    process.start()
    assert not parts.answers(ours, process, 60)
    assert time.monotonic() - begin < 30
    theirs.send("late")
    assert parts.answers(ours, process, 60)
    ours.recv()
    assert not parts.answers(ours, multiprocessing.current_process(), 0.1)


def test_an_agent_is_told_why_there_is_no_browser_and_no_ipython(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: dict[str, str]
) -> None:
    monkeypatch.setattr(parts, "_BROWSER", str(tmp_path))
    assert asyncio.run(parts.no_browser(Executor())) == ""
    assert asyncio.run(parts.no_browser(Executor(error="RetryError"))) == (
        "The browser does not work: it does not start; the server's log and `oh-doctor` say why"
    )
    assert failures.keys() == {parts.BROWSER}
    assert parts.no_jupyter().startswith("JupyterRequirement not found.")
    failures["jupyter"] = "it did not start within 120 s"
    assert parts.no_jupyter() == "IPython does not work: it did not start within 120 s"
