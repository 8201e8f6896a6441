from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake import job
from ohbuild.bake.model import Output
from ohbuild.bake.run import Outcome, check
from ohbuild.check.base import BaseReport, judge
from ohbuild.cli import main as cli
from ohbuild.cli.report import LiveView, as_data, exit_code, make_view, print_error, table
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import Settings
from ohbuild.docker.buildx import Builder
from ohbuild.docker.connection import Connection
from ohbuild.errors import BuildFailed, ImageNotFound, NoEngine, Place, RegistryError, SeveralErrors, UsageError
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image
from ohbuild.verify import clients, container
from ohbuild.verify.run import JOBS, MODES
from tests import command
from tests.cpu import cheapest
from tests.fakes import FAKES
from tests.plans import planned

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ohbuild(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with the fake components, no engine and no network; gives exit code, stdout and stderr."""

    def nothing() -> Connection:
        raise NoEngine("no Docker with buildx answers", "run `ohbuild engine up`")

    real = job.prepare
    monkeypatch.setattr("ohbuild.engine.connect.own_client", lambda: None)
    monkeypatch.setattr("ohbuild.cli.bake.prepare", lambda *a, **k: real(*a, known=FAKES, connect=nothing, **k))
    monkeypatch.setenv("OHBUILD_PREFLIGHT", "false")
    monkeypatch.setattr("ohbuild.signals.signal.signal", lambda *args: None)

    return partial(command.run, capsys)


def test_version(ohbuild: Command) -> None:
    assert ohbuild("--version") == (0, "ohbuild 0.1.0\n", "")


HEAVY = {
    "python_on_whales",
    "httpx",
    "jinja2",
    "asyncio",
    "ssl",
    "pydantic_settings",
    "ohbuild.engine",
    "ohbuild.bake.job",
}
COMMANDS = (
    "deps", "bake", "render", "matrix", "config", "check", "verify", "audit", "components", "engine", "engine seed",
)  # fmt: skip


HELPS = ("--version", "--help", "", *(f"{command} --help" for command in COMMANDS))
# All in one process: a module that one of them loads too much is in the list of each that follows.
LOADED = """
import json, os, sys
from ohbuild.cli.main import main
shown = sys.stdout
for words in sys.argv[1:]:
    try:
        with open(os.devnull, "w") as sys.stdout:
            main(words.split())
    except SystemExit as exit:
        print(json.dumps([words, exit.code, *sys.modules]), file=shown)
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, tuple[int, set[str]]]:
    """Command line → exit code, and the modules that are loaded at its end."""
    done = subprocess.run([sys.executable, "-c", LOADED, *HELPS], capture_output=True, text=True, check=True)
    return {words: (code, set(names)) for words, code, *names in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("words", HELPS)
def test_help_loads_what_it_needs_alone(loaded: dict[str, tuple[int, set[str]]], words: str) -> None:
    code, names = loaded[words]
    assert code == (0 if words else 2), "without a command it shows the help, and that this is a wrong use"
    assert not HEAVY & names
    assert {name for name in names if name.startswith("ohbuild.")} == {
        "ohbuild.cli", "ohbuild.cli.main", "ohbuild.cli.flags", "ohbuild.cli.streams", "ohbuild.config",
        "ohbuild.config.descriptions", "ohbuild.config.flags", "ohbuild.errors", "ohbuild.signals", "ohbuild.version",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_help_answers_at_once(word: str) -> None:
    def start() -> None:
        subprocess.run([sys.executable, "-m", "ohbuild", word], stdout=subprocess.DEVNULL, check=True)

    assert cheapest(start, limit=0.25) < 0.25


def test_the_help_of_verify_agrees_with_what_it_does() -> None:
    """It is written out, as the modules that know these numbers and names load too much for a help."""
    text = " ".join(inspect.getdoc(cli.verify).split())  # type: ignore[union-attr]
    for mode in MODES:
        assert f"- {mode.name}: {mode.description}" in text
    assert text.count(" - ") == len(MODES)
    times = (clients.START_SECONDS, clients.ACTION_SECONDS, container.EMULATED)
    assert "{:.0f} s for the server to respond, {:.0f} s for an action, {:.0f} times as long".format(*times) in text
    assert inspect.signature(cli.verify).parameters["jobs"].default == JOBS


def test_print_shows_the_bake_file_without_an_engine(ohbuild: Command) -> None:
    code, out, err = ohbuild(
        "bake", "debian:trixie", "--image", "a.b/c/runtime", "--platform", "amd64,arm64", "--print"
    )
    assert (code, err) == (0, "")
    assert '{ name = "debian-trixie", image = "debian:trixie", ' in out
    assert re.search(r'default +=\ "a\.b/c/deps"', out)
    assert re.search(r'ref += "\$\{COMPONENT_REPOSITORY\}:assembly_[0-9a-f]{8}-amd64"', out)
    assert not Path(".ohbuild").exists()


def test_render_writes_the_folder(ohbuild: Command) -> None:
    words = ["debian:trixie", "--image", "a.b/c/runtime"]
    code, out, err = ohbuild("render", *words, "--folder", "there")
    assert (code, out, err) == (0, "there\n", "")
    assert Path("there/docker-bake.hcl").read_text() == ohbuild("bake", *words, "--print")[1]
    assert Path("there/Dockerfile.components").exists()
    assert ohbuild("render", "debian:trixie", "--folder", ".")[0] == 2


def test_bases_come_from_the_settings_and_arguments_keep_what_they_say(ohbuild: Command) -> None:
    Path("ohbuild.toml").write_text(
        'platforms = ["linux/amd64", "linux/arm64"]\n'
        'bases = ["debian:trixie", {image = "alpine:3.23", platforms = ["amd64"]}]\n'
    )
    assert '{ name = "alpine-3-23", ' in ohbuild("bake", "--print")[1]
    _, out, _ = ohbuild("bake", "docker.io/library/alpine:3.23", "--print")
    assert '"debian-trixie"' not in out
    assert '"linux/arm64"' not in out


def test_deps_alone(ohbuild: Command) -> None:
    _, out, _ = ohbuild("deps", "--print", "--component", "tmux")
    assert '{ name = "tmux", ' in out
    assert '{ name = "core", ' in out
    assert '{ name = "python", ' not in out
    assert "runtime-" not in out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["bake", "Debian:trixie"], 2, "perhaps you meant 'debian:trixie'"),
        (["bake", "x", "--platform", "linux/amd65"], 2, "perhaps you meant 'amd64'"),
        (["bake", "x", "--component", "tmuxx"], 2, "perhaps you meant 'tmux'"),
        (["bake", "x", "--platform", "linux/s390x"], 2, "choose from linux/amd64, linux/arm64"),
        (["bake"], 2, "no base to bake"),
        (["bake", "x", "--push", "--load"], 2, "cannot be combined"),
        (["bake", "x", "--config", "nowhere.toml"], 2, "nowhere.toml: No such file"),
        (["bake", "x", "--deps-image", "http://x"], 2, "is a URL"),
        (["bake", "x", "--folder", "/proc/x", "--print", "--json"], 2, "needs buildx"),
        (["bake", "debian:trixie"], 3, "ohbuild engine up"),
        (["deps"], 3, "ohbuild engine up"),
        (["bkae"], 2, "bake"),
        (["bake", "--platfrom"], 2, "--platform"),
    ],
)
def test_every_error_is_told_without_a_traceback(ohbuild: Command, words: list[str], code: int, told: str) -> None:
    got, _, err = ohbuild(*words)
    assert told in err
    assert got == code
    assert "Traceback" not in err


def test_debug_shows_the_traceback_wherever_it_stands(ohbuild: Command) -> None:
    assert "Traceback" in ohbuild("--debug", "bake", "Debian")[2]
    assert "Traceback" in ohbuild("bake", "Debian", "--debug")[2]


def test_an_internal_error_asks_for_debug(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*args: object, **more: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("ohbuild.cli.bake.prepare", explode)
    code, _, err = ohbuild("bake", "x")
    assert code == 1
    assert "internal error: RuntimeError: boom" in err
    assert "--debug" in err


def test_ctrl_c_is_130(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ohbuild.cli.bake.prepare", interrupt)
    code, _, err = ohbuild("bake", "x")
    assert code == 130
    assert "Traceback" not in err


def test_errors_are_data_too(ohbuild: Command) -> None:
    code, out, _ = ohbuild("bake", "Debian", "other Base", "--json")
    data = json.loads(out)
    assert code == 2
    assert data["ok"] is False
    assert len(data["error"]["errors"]) == 2


def test_config_tells_values_and_origins(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ohbuild.toml").write_text('bases = ["debian:trixie"]\n')
    monkeypatch.setenv("OHBUILD_IMAGE", "a.b/c")
    data = json.loads(ohbuild("config", "--json")[1])
    assert data["image"] == {"value": "a.b/c", "from": "environment OHBUILD_IMAGE"}
    base = {"image": "debian:trixie", "platforms": [], "system_packages": []}
    assert data["bases"] == {"value": [base], "from": "ohbuild.toml:1"}
    assert data["compression"]["from"] == "default"
    assert "OHBUILD_IMAGE" in ohbuild("config")[1].replace("\n", "")


def results(**outcome: Any) -> list[job.Result]:
    values: dict[str, Any] = {"bases": ["debian:trixie"], "image": "a.b/c"}
    plan = planned(Settings(**values))
    return [
        job.Result(
            target=target,
            outcome=Outcome(target=target.name, digest="sha256:" + "0" * 64, seconds=1.5, cached=1, steps=2, **outcome),
            tags=target.tags("a" * 64),
            sizes={Platform.parse("amd64"): 123_000_000},
        )
        for target in plan.targets
    ]


def shown(thing: object) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(thing)
    console.file.close()
    return console.export_text()


def test_the_final_table_and_its_data() -> None:
    text = shown(table(results()))
    for part in ("runtime-debian-trixie", "linux/amd64", "sha256:000000000000", "123.0 MB", "1.5s", "1/2"):
        assert part in text
    data = as_data(results())
    assert data[1]["base"] == "debian:trixie"
    assert data[1]["sizes"] == {"linux/amd64": 123_000_000}
    assert exit_code(results()) == 0
    assert exit_code(results(error=ImageNotFound("x"))) == 1
    assert exit_code(results(error=RegistryError("x"))) == 4
    mixed = [*results(error=RegistryError("x")), *results(error=BuildFailed("x"))]
    assert exit_code(mixed) == 1


@pytest.mark.parametrize(
    ("driver", "image_store", "settings", "told"),
    [
        ("docker", False, {"platforms": "amd64,arm64"}, "one platform at a time"),
        ("remote", True, {"platforms": "amd64,arm64", "output": "load"}, "cannot load"),
        ("docker", True, {"platforms": "amd64,arm64", "output": "load"}, ""),
        ("kubernetes", True, {"platforms": "amd64", "output": "load"}, ""),
    ],
)
def test_what_a_builder_cannot_do_is_told_first(
    driver: str, image_store: bool, settings: dict[str, Any], told: str
) -> None:
    values = {"bases": ["debian:trixie"], "image": "a.b/c", **settings}
    plan = planned(Settings(**values))
    builder = Builder(name="b", driver=driver, image_store=image_store)
    if told:
        with pytest.raises(UsageError, match=told):
            check(plan, builder)
    else:
        check(plan, builder)
    assert plan.output in (Output.PUSH, Output.LOAD)


def test_views_and_errors_take_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Square brackets are rich's markup; steps and logs are full of them."""
    import io

    from rich.console import Console

    from ohbuild.docker.progress import Event

    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
        with make_view(console, ["deps", "runtime-x"]) as listen:
            for kind in ("start", "log", "done", "cached", "failed"):
                listen(Event(kind, "deps", "[core 1/2] RUN [/red] [bold", 1.0, "[/dim] text"))
            listen(Event("start", "component-core", "[core 1/2] RUN x"))
            if isinstance(listen, LiveView):
                assert "deps" in shown(listen._table())
                assert "component-core" not in shown(listen._table())
                monkeypatch.setattr("ohbuild.cli.report._HIDDEN_AFTER", -1.0)
                assert "component-core" in shown(listen._table())
    console = Console(file=io.StringIO(), width=120)
    error = BuildFailed(
        "[/x] broke", "do [this]", step="[core 1/1] RUN", place=Place("Dockerfile.deps", 1), log=["[/red] line"]
    )
    print_error(console, SeveralErrors("two", [error, error]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("Dockerfile.deps:1") == 2
    assert "| [/red] line" in text


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with job._alone(tmp_path / "x"):
        with pytest.raises(UsageError, match="another ohbuild is building"), job._alone(tmp_path / "x"):
            pass
        with job._alone(tmp_path / "y"):
            pass
    with job._alone(tmp_path / "x"):
        pass


def test_check_shows_a_line_for_each_remark(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform.parse("linux/amd64")
    config = ImageConfig(platform=platform, size=12_300_000, user="1234", env={"PATH": "/bin"}, entrypoint=("/x",))
    made = Image(digest="sha256:x", sizes={platform: config.size}, configs={platform: config})
    remarked = judge(ImageRef.parse("a.b/one:1"), [platform], made, today=datetime(2026, 1, 1, tzinfo=UTC))
    error = RegistryError("a.b/two:1: registry a.b cannot be reached", "check the network")
    unknown = BaseReport(base=ImageRef.parse("a.b/two:1"), wanted=(platform,), errors=(error,))
    fine = BaseReport(base=ImageRef.parse("bold"), wanted=(platform,))
    monkeypatch.setattr("ohbuild.cli.check.check_bases", lambda settings: [remarked, unknown, fine])
    code, out, _ = ohbuild("check", "a.b/one:1", "a.b/two:1", "bold")
    assert code == 4
    lines = [line.split() for line in out.splitlines()]
    assert ["a.b/one:1", "ok", "with", "remarks", "linux/amd64", "1234", "12.3", "MB", "–"] in lines
    assert ["bold", "ok", "linux/amd64", "–", "–", "–"] in lines
    assert "a.b/one:1: ok with remarks\n  • it runs as user 1234: server and agent run as this user too" in out
    assert "  • its ENTRYPOINT /x is not run: " in out
    assert "a.b/two:1: cannot tell\n  ✗ a.b/two:1: registry a.b cannot be reached → check the network\n" in out
    assert "bold: ok\n" not in out
    code, out, _ = ohbuild("check", "a.b/one:1", "--json")
    assert [base["state"] for base in json.loads(out)["bases"]] == ["remarks", "unknown", "ok"]
    assert json.loads(out)["ok"] is False


def test_plugins_and_build_arguments_are_settings(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> Connection:
        raise NoEngine("none")

    def prepare_all(*words: Any, **more: Any) -> job.Job:
        return job.prepare(*words, known=BUILTIN, connect=nothing, **more)

    monkeypatch.setattr("ohbuild.cli.bake.prepare", prepare_all)
    bake = ("bake", "debian:trixie", "--print", "--image", "a.b/c")
    code, shown, err = ohbuild(*bake, "--agent-plugin", "agent_skills,jupyter", "--plugin", "vscode", "--no-browser")
    assert code == 0, err
    assert re.search(r'"dev.ohbuild.plugins" += "agent_skills,jupyter,vscode"', shown)
    assert "component-chromium" not in shown
    assert re.search(r'tag = "debian-trixie-[0-9a-f]{8}"', shown)
    for words, told in [
        (("--agent-plugin", "jupter"), "no component provides the agent plug-in 'jupter'"),
        (("--build-arg", "A"), "--build-arg 'A' is not NAME=VALUE"),
        (("--build-arg", f"A=glpat-{'a1' * 10}"), "--build-arg: the value of the build argument 'A' is a GitLab token"),
        (("--build-arg", "COLOUR=x"), "no component has a build argument 'COLOUR'"),
        (("--extra-deps", "true"), "extra_deps need the bases' USER"),
        (
            ("--no-browser", "--component", "chromium"),
            "component 'chromium' needs a browser, but enable_browser is off",
        ),
    ]:
        code, _, err = ohbuild(*bake, *words)
        assert (code, told in err) == (2, True), err
