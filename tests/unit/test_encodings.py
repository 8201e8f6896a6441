"""In any locale and with any encoding of the output, what is reported arrives."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ohbuild
from ohbuild.cli import report, streams
from ohbuild.config.settings import load
from ohbuild.text import readable
from tests.command import run

SOURCE = Path(ohbuild.__file__).parent


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, set[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield node, name, {word.arg for word in node.keywords if word.arg}


def mode_of(call: ast.Call, place: int) -> str:
    given_mode = [word.value for word in call.keywords if word.arg == "mode"] or call.args[place : place + 1]
    return given_mode[0].value if given_mode and isinstance(given_mode[0], ast.Constant) else "r"  # type: ignore[return-value]


def without_encoding(text: str) -> list[int]:
    """The lines of calls that use the locale's encoding."""
    found = []
    for call, name, words in calls(ast.parse(text)):
        method = isinstance(call.func, ast.Attribute)
        owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
        bad = name in ("read_text", "write_text") and method
        texts = [word.value for word in call.keywords if word.arg in ("text", "universal_newlines")]  # subprocess
        bad |= any(isinstance(value, ast.Constant) and value.value is True for value in texts)
        if name == "open" and owner not in ("os", "tarfile", "Image"):
            bad |= "b" not in (mode := mode_of(call, 0 if method else 1)) and "|" not in mode
        if bad and "encoding" not in words:
            found.append(call.lineno)
    return found


@pytest.mark.parametrize("file", sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")))
def test_every_text_has_an_encoding(file: str) -> None:
    if not file.startswith("_assets"):
        assert without_encoding((SOURCE / file).read_text(encoding="utf-8")) == []


def test_the_search_finds_them() -> None:
    bad = ["p.read_text()", "p.write_text(x)", "open(p)", "p.open('a')", "run(x, text=True)", "open(p, mode='w')"]
    good = ["p.read_bytes()", "open(p, 'rb')", "p.open(mode='ab')", "os.open(p, 0)", "p.open('w', encoding='utf-8')",
            "write_text(p, x)", "run(x, encoding='utf-8')"]  # fmt: skip
    assert without_encoding("\n".join([*bad, *good])) == list(range(1, len(bad) + 1))


# --- the whole command

# The encoding of the output, as PYTHONIOENCODING sets it, and whether the locale is ASCII.
LOCALES = {
    "ASCII output": ("ascii", False),
    "Latin-1 output": ("latin-1", False),
    "ASCII locale": ("ascii", True),
    "UTF-8 output of an ASCII locale": ("utf-8", True),
}
# Words of the command, its exit code, and what it prints in ASCII: é is an escape.
COMMANDS = {
    "--help": (0, "Usage: ohbuild"),
    "--version": (0, "ohbuild "),
    "verify --help": (0, "+ holds, x fails (reasons follow the table), - does not apply"),
    "config": (0, r'labels                {"name": "\xe9 \u65e5 \U0001f600"}'),
    "config --json": (0, r'"name": "\u00e9 \u65e5 \ud83d\ude00"'),
    "check Dé": (2, r"error: 'D\xe9' has an invalid repository name"),
    "check --json Dé 日": (2, r"'\u65e5'"),
    "bake Dé": (2, r"error: 'D\xe9' has an invalid repository name"),
    "bake --config é.toml x": (2, r"error: \xe9.toml: No such file or directory"),
    "bake --bases-file é/日.txt": (2, r"error: --bases-file \xe9/\u65e5.txt: No such file or directory"),
    "bake --é": (2, r"No such option: --\xe9"),
    "bake --json --é": (2, r'"message": "No such option: --\u00e9"'),
    "bake x --folder é/y --print --extra-deps é": (2, "extra_deps need the bases' USER"),
    "components": (0, "builder"),
}


# Each command in a process of its own, split off where its modules are loaded, with the streams that Python would make.
EACH = """
import codecs, gc, json, os, sys, tempfile
import ohbuild.cli.bake, ohbuild.cli.check, ohbuild.cli.components, ohbuild.cli.config, ohbuild.cli.ending
import rich.markdown, rich._emoji_codes, typer.rich_utils, typer._adapters
from ohbuild.cli.main import app, main, typer_command
typer_command(app)
encodings, given = json.loads(sys.argv[1]), json.loads(sys.argv[2])
done = {encoding: {} for encoding in encodings}
gc.freeze()
for encoding, words in ((encoding, words) for encoding in encodings for words in given):
    files = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        if codecs.lookup(sys.stdout.encoding).name != codecs.lookup(encoding).name:
            sys.stdout = open(1, "w", encoding=encoding)
            sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1)
        # As Python decodes the words of a command line.
        try:
            main([os.fsdecode(word.encode()) for word in words.split()])
        except SystemExit as exit:  # without Python's end, which costs more than most commands
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(exit.code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for file in files:
        file.seek(0)
    done[encoding][words] = [code, *(file.read().hex() for file in files)]
print(json.dumps(done))
"""
Ended = dict[str, Any]


@pytest.fixture(scope="module")
def all_ended(folder: Path) -> dict[bool, dict[str, Ended]]:
    """Whether the locale is ASCII → the encoding of the output → how each command ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHONIO", "OHB"))}
    environment |= {"DOCKER_HOST": "tcp://127.0.0.1:1", "COLUMNS": "150", "PYTHONPATH": str(SOURCE.parent)}
    found = {}
    for ascii_locale in (False, True):
        more = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"} if ascii_locale else {}
        encodings = [encoding for encoding, of_ascii in LOCALES.values() if of_ascii is ascii_locale]
        command = [sys.executable, "-c", EACH, json.dumps(encodings), json.dumps(list(COMMANDS))]
        done = subprocess.run(command, cwd=folder, env={**environment, **more}, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        found[ascii_locale] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=LOCALES)
def ended(request: pytest.FixtureRequest, all_ended: dict[bool, dict[str, Ended]]) -> tuple[str, Ended]:
    """The encoding of a locale's output, and how each command ended in it."""
    encoding, ascii_locale = LOCALES[request.param]
    return encoding, {
        words: (code, *(bytes.fromhex(text).decode(encoding) for text in texts))
        for words, (code, *texts) in all_ended[ascii_locale][encoding].items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("é 日")
    (folder / "é").mkdir()
    text = 'preflight = false\nlabels = {name = "é 日 😀"} # é\n'
    (folder / "ohbuild.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_reports_in_every_locale(ended: tuple[str, Ended], words: str) -> None:
    encoding, commands = ended
    code, out, err = commands[words]
    wanted, told = COMMANDS[words]
    assert code == wanted, out + err
    assert "internal error" not in out + err
    assert "Traceback" not in out + err
    if "--json" in words:
        json.loads(out)
    if encoding == "ascii":
        assert told in out + err
    elif encoding == "utf-8" and "e9" in told:
        assert "é" in out + err


# --- the parts


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp437", "utf-8", "koi8-r"]))
def test_any_text_is_written_in_any_encoding(text: str, encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        streams.make_safe()
        stream.write(text)
        stream.flush()
        spelled = streams.encodable_json(json.dumps([text], ensure_ascii=False))
        assert json.loads(spelled.encode(encoding).decode(encoding)) == [readable(text)]
    written = raw.getvalue().decode(encoding)
    assert text.isascii() is False or written == text


def test_characters_have_the_nearest_of_ascii() -> None:
    text = "✓ ✗ – … → ╭──╮ │ ╰ é\udcc3\udca9\udcff"
    streams.make_safe()
    assert text.encode("ascii", "ohbuild").decode() == r"+ x - ... -> +--+ | + \xe9\xe9\udcff"
    assert text.encode("latin-1", "ohbuild").decode("latin-1") == r"+ x - ... -> +--+ | + éé\udcff"
    assert "é\udcc3\udca9".encode("utf-8", "ohbuild").decode() == "éé"


@given(st.text())
def test_what_python_could_not_decode_is_utf_8(text: str) -> None:
    plain = "".join(character for character in text if not 0xD800 <= ord(character) <= 0xDFFF)
    assert readable(plain) == plain
    assert readable(plain.encode().decode("ascii", "surrogateescape")) == plain


def test_settings_are_utf_8_in_every_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = "é 日".encode().decode("ascii", "surrogateescape")
    monkeypatch.setenv("OHBUILD_LABELS", f"a={raw}")
    monkeypatch.setenv("OHBUILD_EXTRA_DEPS", f"echo {raw}")
    settings = load({"build_args": {"A": raw}}).settings
    assert (settings.labels, settings.extra_deps) == ({"a": "é 日"}, "echo é 日")
    assert settings.build_args == {"A": "é 日"}


def test_a_name_that_no_file_can_have_is_the_users_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise UnicodeEncodeError(sys.getfilesystemencoding(), "é.toml", 0, 1, "ordinal not in range(128)")

    monkeypatch.setattr("ohbuild.cli.config.run", fails)
    code, out, err = run(capsys, "config", "--json")
    assert code == 2
    assert "'é.toml' cannot name a file" in err
    assert json.loads(out)["hint"].startswith("set LC_ALL=C.UTF-8")


def test_a_closed_output_is_no_error() -> None:
    words = f"exec {sys.executable} -m ohbuild config >&- 2>&-"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    assert subprocess.run(["/bin/sh", "-c", words], env=environment, check=False).returncode == 0


def test_json_has_its_characters_where_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert '"é"' in report.dump({"a": "é"})
