"""How ``oh_agent_server`` starts the server: variables, command lines, and the functions that it changes."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oh_agent_server import launch, seams, terminal, variables
from oh_container import passed
from oh_container.environment import remember

FOLDER = Path(__file__).parents[2] / "dockerfiles/components/agent-server"


def server(base: dict[str, str], able: tuple[str, ...] = ("/", "/workspace"), folder: str = "/") -> dict[str, str]:
    environ = {"PATH": "/bin", **base}
    return variables.server_variables(environ, base, folder=folder, state="/s", writable=able.__contains__)


def test_our_programs_come_first_on_the_servers_path() -> None:
    assert server({"PATH": "/base"})["PATH"] == ":".join((*variables.PROGRAMS, "/base"))


@pytest.mark.parametrize(
    ("able", "folder", "moved"),
    [
        (("/", "/workspace"), "/", False),
        (("/workspace",), "/", False),
        (("/",), "/", False),
        ((), "/", True),
        (("/workspace",), "/testbed", True),
        (("/testbed",), "/testbed", False),
    ],
)
def test_state_is_kept_where_it_can_be_written(able: tuple[str, ...], folder: str, *, moved: bool) -> None:
    assert (server({}, able, folder).get("OH_CONVERSATIONS_PATH") == "/s/workspace/conversations") is moved


def test_what_a_client_sets_is_kept() -> None:
    given_values = {"OH_CONVERSATIONS_PATH": "/c", "LOG_JSON": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "False"}
    assert not given_values.keys() & server(given_values, ()).keys()


def test_a_bundle_that_does_not_exist_is_not_the_servers() -> None:
    environ = {"SSL_CERT_FILE": "/gone", "CURL_CA_BUNDLE": "/there", "REQUESTS_CA_BUNDLE": ""}
    assert variables.unusable(environ, {"/there"}.__contains__) == ["SSL_CERT_FILE"]


@given(st.dictionaries(st.sampled_from(["LANG", "LC_ALL", "LC_CTYPE", "A", "TMUX_TMPDIR"]), st.text()))
def test_an_agents_programs_see_the_containers_environment(base: dict[str, str]) -> None:
    changed = {"TMUX_TMPDIR": "/x", "BROWSER_USE_LOGGING_LEVEL": "x", "SET_BY_A_CLIENT": "1"}
    found = variables.agent_environment(base, changed)
    added = {name for name, value in found.items() if base.get(name) != value}
    assert added - {"LANG"} == {"SET_BY_A_CLIENT"}
    assert base.keys() <= found.keys()
    assert any(found.get(name) for name in variables.LOCALE)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "openhands.agent_server", "--port", "60000"], ["--port", "60000"]),
        (["-u", "-m", "openhands.agent_server"], []),
        (["-m", "openhands.agent_server.other"], None),
        (["-c", "print()"], None),
        (["script.py", "-m", "openhands.agent_server"], None),
        ([], None),
    ],
)
def test_which_python_command_starts_the_server(words: list[str], expected: list[str] | None) -> None:
    assert launch.server_arguments(words) == expected


@pytest.mark.parametrize(
    ("arguments", "served", "run"),
    [
        ([], [], None),
        (["--port", "1"], ["--port", "1"], None),
        (["-h"], ["-h"], None),
        (["ls", "-l"], None, ["ls", "-l"]),
    ],
)
def test_options_go_to_the_server_and_a_command_is_run(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], served: list[str] | None, run: list[str] | None
) -> None:
    seen: dict[str, Any] = {}

    def execute(words: list[str]) -> None:
        seen["run"] = words
        raise SystemExit

    monkeypatch.setattr(sys, "argv", ["oh-agent-server", *arguments])
    monkeypatch.setattr(launch, "execute", execute)
    monkeypatch.setattr(launch, "serve", lambda words: seen.update(served=words))
    with suppress(SystemExit):
        launch.main()
    assert (seen.get("served"), seen.get("run")) == (served, run)


# --- seams ---


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package to change, with the garbage collector's thresholds restored afterwards."""
    (tmp_path / "seamed.py").write_text(
        "def double(x):\n    return 2 * x\n\n\n"
        "class Model:\n    @classmethod\n    def make(cls, x):\n        return cls, x\n\n"
        "    def plain(self):\n        return 'plain'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before, finders = gc.get_threshold(), list(sys.meta_path)
    yield tmp_path
    gc.set_threshold(*before)
    sys.meta_path[:] = finders
    sys.modules.pop("seamed", None)


def test_functions_and_methods_are_changed_when_a_module_is_imported(package: Path) -> None:
    def plus_one(original: Any) -> Any:
        return lambda *words: (original(*words), 1)

    seams.install({"seamed": {"double": plus_one, "Model.make": plus_one, "Model.plain": plus_one}})
    assert gc.get_threshold() == seams.GC_AT_START
    seamed = importlib.import_module("seamed")
    assert seamed.double(3) == (6, 1)
    assert seamed.Model.make(4) == ((seamed.Model, 4), 1)
    assert seamed.Model().plain() == ("plain", 1)


@pytest.mark.parametrize(("variable", "there"), [("A", False), ("OTEL_EXPORTER_OTLP_ENDPOINT", True)])
def test_a_package_for_tracing_is_imported_for_tracing(
    package: Path, monkeypatch: pytest.MonkeyPatch, variable: str, *, there: bool
) -> None:
    (package / "lmnr.py").write_text("")
    (package / "seamed.py").write_text("try:\n    import lmnr\nexcept ImportError:\n    lmnr = None\n")
    monkeypatch.setattr(seams, "WITHOUT_LMNR", ("seamed",))
    monkeypatch.setattr("os.environ", {variable: "1"})
    seams.install({})
    assert bool(importlib.import_module("seamed").lmnr) is there
    assert importlib.import_module("lmnr"), "others find it"
    sys.modules.pop("lmnr")


def test_programs_get_the_recorded_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"PATH": "/base", "LANG": "C", "MY_TOKEN": "x", "WEB_CONCURRENCY": "4"}
    remember(environ)
    environ["PATH"] = "/ours:/base"
    monkeypatch.setattr("os.environ", environ)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    passed.reduce(environ)
    assert "MY_TOKEN" not in environ
    seams.install({})
    gc.set_threshold(*seams.GC_AFTERWARDS)
    sanitized = seams._environment(lambda env: {name: env[name] for name in env if name != "SECRET"})
    environ["SET_LATER"] = "1"
    expected = {"PATH": "/base", "LANG": "C", "MY_TOKEN": "x", "WEB_CONCURRENCY": "4", "SET_LATER": "1"}
    assert sanitized() == expected
    assert sanitized({"A": "1", "SECRET": "2"}) == {"A": "1"}
    assert seams._Os(os).environ == expected
    assert seams._Os(os).getpid() == os.getpid()


def test_bash_gets_the_environment_that_tmux_would_change() -> None:
    assert terminal.command({"PATH": "/base", "SHELL": "/bin/zsh"}, ["bash", "-i"])[1:] == [
        "env", "-uTERM_PROGRAM", "-uTERM_PROGRAM_VERSION", "-uCOLORTERM", "SHELL=/bin/zsh", "PATH=/base", "bash", "-i",
    ]  # fmt: skip
    assert "-uSHELL" in terminal.command({}, ["bash"])
    assert (terminal.niceness({}), terminal.niceness({"OH_TERMINAL_PROCESS_PRIORITY": " None"})) == (10, 0)


class Tabs:
    """A browser with one tab, whose process is there at the third look."""

    def __init__(self, listed: str) -> None:
        self.looks = 0
        self._cdp_client_root = self.send = self.Target = self
        self.listed = listed

    async def getTargets(self) -> dict[str, Any]:  # the protocol
        return {"targetInfos": [{"targetId": self.listed}]}

    async def find(self, target_id: str | None = None, *, focus: bool = True) -> tuple[str | None, bool]:
        self.looks += 1
        if self.looks < 3:
            raise ValueError(f"Target {target_id} not found - may have detached or never existed")
        return target_id, focus


def test_a_tab_that_the_browser_lists_is_waited_for() -> None:
    browser = Tabs("a")
    find = seams.SEAMS["browser_use.browser.session"]["BrowserSession.get_or_create_cdp_session"](Tabs.find)
    assert asyncio.run(find(browser, "a", focus=False)) == ("a", False)
    assert browser.looks == 3


@pytest.mark.parametrize(("asked", "granted"), [(15.0, 60.0), (20.0, 20.0), (None, None)])
def test_a_connection_to_the_browser_has_more_time(asked: float | None, granted: float | None) -> None:
    class Module:
        async def wait_for(self, awaitable: Any, limit: float | None) -> float | None:
            await awaitable
            return limit

        sleep = staticmethod(asyncio.sleep)

    changed = seams.SEAMS["browser_use.browser.session"]["asyncio"](Module())
    assert asyncio.run(changed.wait_for(changed.sleep(0), timeout=asked)) == granted


def test_a_tab_that_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    find = seams.SEAMS["browser_use.browser.session"]["BrowserSession.get_or_create_cdp_session"](Tabs.find)
    browser = Tabs("b")
    with pytest.raises(ValueError, match="not found"):
        asyncio.run(find(browser, "a"))
    assert browser.looks == 1
    monkeypatch.setattr(seams, "TAB_SECONDS", -1)
    with pytest.raises(ValueError, match="not found"):
        asyncio.run(find(Tabs("a"), "a"))


def test_a_version_without_one_of_the_functions_fails_in_the_build(tmp_path: Path) -> None:
    for module, changes in seams.SEAMS.items():
        path = tmp_path / (module.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [path_in.rpartition(".")[::2] for path_in in changes if path_in not in seams.OPTIONAL]
        texts = [
            f"class {owner}:\n    def {name}(self): ...\n" if owner else f"{name}: int = 1\n" for owner, name in names
        ]
        path.write_text("".join(texts))
    environment = {"PYTHONPATH": f"{FOLDER}:{FOLDER.parent / 'python'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(FOLDER / "check-seams"), str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    (tmp_path / "openhands/sdk/utils/command.py").write_text("def other(): ...\n")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "openhands.sdk.utils.command has no sanitized_env" in done.stderr


def test_what_is_left_out_of_the_packages(tmp_path: Path) -> None:
    files = {
        "lxml/etree.so": False, "lxml-6.1.3.dist-info/METADATA": False, "kept/__init__.py": True,
        "kept/tests/a.py": False, "kept-1.dist-info/RECORD": True,
        "botocore/data/ec2/x.json": False, "botocore/data/sts/x.json": True,
        "botocore/data/endpoints.json": True, "litellm/proxy/_experimental/out/index.html": False,
        "litellm/proxy/_experimental/mcp.py": True, "bin/tool": False,
    }  # fmt: skip
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "lxml-6.1.3.dist-info/RECORD").write_text("lxml/etree.so,,\nlxml-6.1.3.dist-info/METADATA,,\n")
    subprocess.run([sys.executable, FOLDER / "trim", tmp_path], check=True)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {name for name, stays in files.items() if stays}
