"""With --json, standard output is JSON however the command ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

import ohbuild.cli as commands
from ohbuild.cli.main import app
from ohbuild.errors import ExitCode, Interrupted, InvalidSetting, NoEngine, RegistryError, SeveralErrors
from tests.command import run


def with_json(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """The commands that have --json, as words of the command line."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from with_json(inner, *path, name)
    if any("--json" in getattr(parameter, "opts", ()) for parameter in command.params):
        yield path


COMMANDS = sorted(with_json(typer.main.get_command(app)))
NEEDS = {("verify",): ["x"], ("audit",): ["x"], ("engine", "seed"): ["debian:trixie"]}


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohbuild.signals.signal.signal", lambda *args: None)


def failed(capture: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    code, out, err = run(capture, *words)
    data = json.loads(out)
    assert data["ok"] is False
    assert data["exit_code"] == data["error"]["exit_code"] == code
    assert data["hint"] == data["error"]["hint"]
    assert err, "people read standard error"
    return code, data, err


def test_there_are_such_commands() -> None:
    assert {("bake",), ("deps",), ("check",), ("config",), ("verify",), ("audit",), ("engine", "up")} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_an_unknown_option_is_json(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--nope", "--json"], ["--json", "--nope=é"]):
        code, data, err = failed(capsys, *path, *NEEDS.get(path, []), *words)
        assert code == 2
        assert data["error"]["message"].startswith("No such option: --nope")
        assert data["hint"] == f"see `ohbuild {' '.join(path)} --help`"
        assert "No such option: --nope" in err


@pytest.mark.parametrize("path", NEEDS)
def test_a_missing_argument_is_json(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, data, _ = failed(capsys, *path, "--json")
    assert (code, data["error"]["message"].startswith("Missing argument")) == (2, True)


@pytest.mark.parametrize(
    "words", [["--json"], ["nope", "--json"], ["engine", "--json"], ["bake", "--json", "--config"], ["env", "--json"]]
)
def test_other_wrong_uses_are_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(capsys, *words)[0] == 2


ERRORS: dict[str, tuple[Callable[[], BaseException], int]] = {
    "no engine": (lambda: NoEngine("no engine", "start one"), 3),
    "a registry": (lambda: RegistryError("no answer"), 4),
    "a setting": (lambda: InvalidSetting("x: wrong", "fix it"), 2),
    "several": (lambda: SeveralErrors("two", [InvalidSetting("a"), InvalidSetting("b", "c")]), 2),
    "Ctrl-C": (KeyboardInterrupt, 130),
    "stopped": (lambda: Interrupted("stopped", "again"), 130),
    "abort": (typer.Abort, 130),
    "internal": (lambda: ValueError("é\udcff"), 1),
    "a file": (lambda: OSError(28, "No space left on device", "/x"), 1),
}


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_json(
    kind: str, path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, wanted = ERRORS[kind]

    def fail(*_: object, **__: object) -> None:
        raise make()

    module = getattr(commands, {"deps": "bake", "plugins": "components"}.get(path[0], path[0]))
    monkeypatch.setattr(module, path[1] if len(path) > 1 else "run", fail)
    code, data, _ = failed(capsys, *path, *NEEDS.get(path, []), "--json")
    assert code == wanted
    if kind == "several":
        assert [error["message"] for error in data["errors"]] == ["a", "b"]
    else:
        assert "errors" not in data
        assert data["error"]["message"]


@pytest.mark.parametrize("variable", ["OHBUILD_PLATFORMS=x/y", "OHBUILD_LABELS={", "OHBUILD_CONFIG=/nowhere.toml"])
def test_an_invalid_setting_is_json(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(*variable.split("=", 1))
    for words in (["bake", "x"], ["deps"], ["check", "x"], ["config"]):
        assert failed(capsys, *words, "--json")[0] == 2


def test_only_the_flag_makes_it_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", "--nope")
    assert (code, out) == (2, "")
    code, out, err = run(capsys, "check", "--", "--json")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "'--json'" in err
