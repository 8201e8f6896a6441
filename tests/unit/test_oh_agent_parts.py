"""How ``oh_agent_server.parts`` notes why VS Code or the browser do not work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest
from oh_agent_server import parts


@pytest.fixture(autouse=True)
def nothing_failed() -> Iterator[None]:
    yield
    parts._services.clear()
    parts._reasons.clear()


class VSCode:
    """OpenHands' service, with another program in the place of VS Code."""

    port = 8001

    def __init__(self, program: str, *, there: bool = True, free: bool = True) -> None:
        self.program, self.there, self.free = program, there, free
        self.process: asyncio.subprocess.Process | None = None

    def _check_vscode_available(self) -> bool:
        return self.there

    async def _is_port_available(self) -> bool:
        return self.free

    @parts.vscode_started
    async def start(self) -> bool:
        if not self.there or not self.free:
            return False
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", self.program, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        await self._wait_for_startup()
        return True

    @parts.vscode_waited_for
    async def _wait_for_startup(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if b"bound" in line:
                break


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (VSCode("print('one'); raise SystemExit('no such module')"), "it ended with exit code 1: no such module"),
        (VSCode("raise SystemExit(3)"), "it ended with exit code 3"),
        (VSCode("", free=False), "port 8001 is not available"),
        (VSCode("", there=False), None),
    ],
)
def test_why_vscode_does_not_start(service: VSCode, reason: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    asyncio.run(service.start())
    assert parts.failed().get("vscode") == reason
    assert ("vscode does not work" in capfd.readouterr().err) is (reason is not None)


def test_vscode_that_ends_later_is_told_and_one_that_writes_much_goes_on() -> None:
    service = VSCode(
        "print('bound', flush=True)\nfor _ in range(100_000): print('x' * 50)\nraise SystemExit('the end')"
    )

    async def both() -> tuple[dict[str, str], int]:
        await service.start()
        before = parts.failed()
        assert service.process is not None
        code = await asyncio.wait_for(service.process.wait(), 60)
        while parts._tasks:
            await asyncio.sleep(0.01)
        return before, code

    assert asyncio.run(both()) == ({}, 1)
    assert parts.failed() == {"vscode": "it ended with exit code 1: the end"}
    assert len(parts._output) <= parts.KEPT_BYTES


def test_a_browser_that_does_not_start_is_told_until_it_does() -> None:
    errors: list[BaseException] = [ValueError("first\nno such file"), asyncio.CancelledError()]

    class Executor:
        @parts.browser_started
        async def _ensure_initialized(self) -> str:
            if errors:
                raise errors.pop(0)
            return "started"

    with pytest.raises(ValueError, match="first"):
        asyncio.run(Executor()._ensure_initialized())
    assert parts.failed() == {"browser": "no such file"}
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Executor()._ensure_initialized())
    assert parts.failed() == {"browser": "it did not start in the time that the action had"}
    assert asyncio.run(Executor()._ensure_initialized()) == "started"
    assert parts.failed() == {}
