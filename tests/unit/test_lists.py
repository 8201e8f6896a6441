"""Lists that are written as one text, in flags, arguments, variables and files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.config.bases import BaseSetting, Named, named_bases
from ohbuild.config.flags import settings_of
from ohbuild.config.settings import Settings, load, load_for_bases
from ohbuild.errors import InvalidSetting, OhbuildError, SeveralErrors, UsageError
from ohbuild.images.platform import parse_platforms
from ohbuild.images.reference import ImageRef
from ohbuild.text import list_items, split_list

WORDS = st.text(st.characters(exclude_characters=",\r\n"), min_size=1, max_size=9).map(str.strip).filter(bool)
HOSTS = st.sampled_from(["", "ghcr.io/", "localhost:5000/", "[::1]:5000/", "[::1]/", "[fe80:0:1]:1/"])
REFERENCES = st.builds(
    "{}{}{}".format, HOSTS, st.from_regex(r"\A[a-z0-9]{1,3}(/[a-z]{1,3})?\Z"), st.sampled_from(["", ":1", ":A_b.c-d"])
)
SEPARATORS = st.sampled_from([",", " , ", "\n", "\r\n", "\r", ",\n", "\n\n \n", ",,"])


def joined(words: list[str], separators: list[str]) -> str:
    return "".join(word + separator for word, separator in zip(words, separators, strict=True))


def is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


@given(st.data(), st.lists(REFERENCES, max_size=5))
def test_references_are_the_same_in_every_form(data: st.DataObject, words: list[str]) -> None:
    separators = data.draw(st.lists(SEPARATORS, min_size=len(words), max_size=len(words)))
    for text in (",".join(words), "\n".join(words), joined(words, separators), json.dumps(words)):
        assert list_items(text) == split_list(text) == words
    assert split_list(*words) == words


@given(st.lists(WORDS, max_size=5))
def test_any_words_are_the_same_in_every_form(words: list[str]) -> None:
    for text in (",".join(words), "\n".join(words)):
        if not is_json(text):  # such as the single word `[]`
            assert list_items(text) == words
    assert list_items(json.dumps(words)) == words
    assert list_items(f" \n{json.dumps(words, indent=1)}\n") == words


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.lists(JSON))
def test_a_json_list_gives_its_items(items: list[Any]) -> None:
    assert list_items(json.dumps(items)) == items
    if all(isinstance(item, str) for item in items):
        assert split_list(json.dumps(items)) == items
    else:
        with pytest.raises(UsageError, match="is not a string"):
            split_list(json.dumps(items))


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[::1]:5000/x", ["[::1]:5000/x"]),
        ("[::1]:5000/x,[::2]/y:1\ndebian", ["[::1]:5000/x", "[::2]/y:1", "debian"]),
        ('["a",]', ['["a"', "]"]),
        ("[", ["["]),
        ("[" * 100_000, ["[" * 100_000]),
        ("[" + "9" * 5000 + "]", ["[" + "9" * 5000 + "]"]),
        ('{"a": 1}', ['{"a": 1}']),
        ("[]", []),
        ("", []),
        (" ,\n, ", []),
    ],
)
def test_only_json_lists_are_json(text: str, items: list[str]) -> None:
    assert list_items(text) == items


LISTS = {
    "platforms": "linux/amd64 arm64",
    "components": "core tmux",
    "requirements": "jupyter vscode",
    "system_packages": "git curl=8.*",
    "cache_from": "a.b/c:d [::1]:1/e",
    "bases": "debian:trixie [::1]:1/x",
}
FORMS: Mapping[str, Callable[[list[str]], str]] = {"commas": ",".join, "lines": "\n".join, "JSON": json.dumps}


def expected(setting: str) -> object:
    values: dict[str, Any] = {setting: LISTS[setting].split()}
    return getattr(Settings(**values), setting)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("setting", LISTS)
def test_every_list_takes_every_form(setting: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FORMS[form](LISTS[setting].split())
    Path("ohbuild.toml").write_text(f"{setting} = {json.dumps(text)}\n")
    assert getattr(load().settings, setting) == expected(setting)
    Path("ohbuild.toml").unlink()
    monkeypatch.setenv(f"OHBUILD_{setting.upper()}", text)
    assert getattr(load().settings, setting) == expected(setting)


def test_there_is_no_other_list() -> None:
    lists = {name for name, field in Settings.model_fields.items() if "tuple" in str(field.annotation)}
    assert lists == set(LISTS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("flag", "setting"),
    [("platform", "platforms"), ("component", "components"), ("agent_plugin", "requirements"),
     ("system_packages", "system_packages"), ("cache_from", "cache_from")],
)  # fmt: skip
def test_every_flag_takes_every_form_and_may_be_repeated(flag: str, setting: str, form: str) -> None:
    words = LISTS[setting].split()
    for given_words in ([FORMS[form](words)], [FORMS[form](words[:1]), FORMS[form](words[1:])]):
        assert getattr(load(settings_of({flag: given_words})).settings, setting) == expected(setting)


def test_platforms_are_parsed_in_every_form() -> None:
    assert parse_platforms(['["amd64"]', "arm64\namd64"]) == parse_platforms(["amd64,arm64"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("OHBUILD_PLATFORMS", '["amd65"]', "OHBUILD_PLATFORMS: unknown architecture 'amd65'"),
        ("OHBUILD_PLATFORMS", "[1]", "OHBUILD_PLATFORMS: expected a list of platforms"),
        ("OHBUILD_COMPONENTS", "[1]", "OHBUILD_COMPONENTS: Input should be a valid string"),
        ("OHBUILD_BASES", '["Debian"]', "OHBUILD_BASES: 'Debian' has an invalid repository name"),
        ("OHBUILD_BASES", '[{"image": "a", "plaforms": []}]', "OHBUILD_BASES: unknown key 'plaforms'"),
        ("OHBUILD_BASES", '["debian:trixie",]', "OHBUILD_BASES: '[\"debian:trixie\"' has an invalid"),
        ("OHBUILD_SYSTEM_PACKAGES", '["jq;id"]', "OHBUILD_SYSTEM_PACKAGES: 'jq;id' is not a package"),
    ],
)
def test_what_is_wrong_in_a_variable_is_named(
    name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(OhbuildError) as caught:
        load()
    first = caught.value.errors[0] if isinstance(caught.value, SeveralErrors) else caught.value
    assert message in first.message


def test_what_is_wrong_in_a_flag_is_named() -> None:
    given_flags = settings_of({"system_packages": ["git,curl", '["jq;id"]']})
    with pytest.raises(InvalidSetting, match="--system-packages: 'jq;id' is not a package"):
        load(given_flags)


# --- bases in arguments and files


def chosen(*texts: str, file: str | None = None) -> list[str]:
    """Reference and platforms of each base."""
    settings = load_for_bases({}, named_bases(texts, file))
    return [f"{base.image} {','.join(map(str, base.platforms))}".strip() for base in settings.bases]


def test_an_argument_may_hold_several_bases_and_tables_of_the_file_apply() -> None:
    Path("ohbuild.toml").write_text('bases = ["debian:trixie", {image = "alpine:3.23", platforms = ["amd64"]}]\n')
    assert chosen() == ["debian:trixie", "alpine:3.23 linux/amd64"]
    assert chosen("alpine:3.23\nubuntu", "a.b/c:1,[::1]:5000/x") == [
        "alpine:3.23 linux/amd64", "ubuntu", "a.b/c:1", "[::1]:5000/x",
    ]  # fmt: skip
    assert chosen('["docker.io/library/alpine:3.23", {"image": "debian", "platforms": "arm64"}]') == [
        "alpine:3.23 linux/amd64", "debian linux/arm64",
    ]  # fmt: skip
    # a table replaces the one of the file
    assert chosen('[{"image": "alpine:3.23"}]') == ["alpine:3.23"]


@given(st.lists(REFERENCES, min_size=1, max_size=5))
def test_bases_are_the_same_in_every_form(words: list[str]) -> None:
    wanted = [ImageRef.parse(word) for word in words]
    for form in FORMS.values():
        settings = load_for_bases({}, named_bases([form(words)]))
        assert [base.image for base in settings.bases] == wanted


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([""], "'' names no base"),
        (["\n"], r"'\n' names no base"),
        (["debian", "[]"], "'[]' names no base"),
        (["Debian:trixie"], "'Debian:trixie' has an invalid repository name"),
        (["[3]"], "3 is not a base"),
        (["[[]]"], "[] is not a base"),
        (['[{"image": "a", "platforms": ["amd65"]}]'], '{"image": "a", "platforms": ["amd65"]}: platforms: unknown'),
        (['[{"platforms": ["amd64"]}]'], '{"platforms": ["amd64"]}: image: Field required'),
        (['[{"image": "a", "plaforms": 1}]'], "unknown key 'plaforms'"),
        (["# a comment"], "'# a comment' is not an image reference"),
    ],
)
def test_what_is_wrong_in_an_argument_is_named(texts: list[str], message: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        chosen(*texts)
    assert message in caught.value.message


def test_all_wrong_bases_are_named_at_once() -> None:
    with pytest.raises(SeveralErrors) as caught:
        chosen("Debian,alpine", '["a b", {"image": "C", "platforms": ["x"]}]')
    assert len(caught.value.errors) == 3
    assert isinstance(caught.value.errors[2], SeveralErrors)
    assert caught.value.exit_code == 2


@contextmanager
def standard_input(data: bytes | None) -> Iterator[None]:
    """Standard input with this content; closed if None."""
    saved = os.dup(0)
    try:
        if data is None:
            os.close(0)
        else:
            reader, writer = os.pipe()
            os.write(writer, data)
            os.close(writer)
            os.dup2(reader, 0)
            os.close(reader)
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


FILE = "# the bases\n\ndebian:trixie   # a remark\n  alpine:3.23,ubuntu\r\n[::1]:5000/x\n"


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        (FILE, ["debian:trixie", "alpine:3.23", "ubuntu", "[::1]:5000/x"]),
        ("\ufeffdebian", ["debian"]),
        ("[::1]:5000/x", ["[::1]:5000/x"]),
        ('[\n  "debian",\n  {"image": "alpine", "platforms": ["amd64"]}\n]\n', ["debian", "alpine linux/amd64"]),
    ],
)
def test_a_file_has_a_base_per_line_or_a_json_list(text: str, bases: list[str], tmp_path: Path) -> None:
    file = tmp_path / "bases"
    file.write_bytes(text.encode())
    assert chosen(file=str(file)) == bases
    assert chosen("first", file=str(file)) == ["first", *bases]
    with standard_input(text.encode()):
        assert chosen(file="-") == bases


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("debian\n\n# x\nDebian\n", "bases:4: 'Debian' has an invalid repository name"),
        ("debian:trixie alpine", "bases:1: 'debian:trixie alpine' is not an image reference"),
        ("", "bases is empty: it names no base"),
        ("# only a comment\n", "bases is empty"),
        ("[]", "bases is empty"),
        ('["a",\n "b",]', "bases:2:6: not valid JSON"),
        ('["a"', "bases:1:5: not valid JSON"),
        ("[", "bases:1:2: not valid JSON"),
        ("[[", "bases:1: '[[' "),
        ('["a", ' + "[" * 100_000, "bases: not valid JSON"),
        ('["a", 3]', "bases: #2: expected a base, not 3"),
        ('["a", "B"]', "bases: #2: 'B' has an invalid"),
        ('[{"image": "a", "platforms": ["x"]}]', "bases: #1: platforms: unknown architecture 'x'"),
        (b"\xff", "bases: not UTF-8 at byte 0"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(text: str | bytes, message: str) -> None:
    Path("bases").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidSetting) as caught:
        chosen(file="bases")
    assert message in caught.value.message
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_named() -> None:
    Path("folder").mkdir()
    for name, why in (("nowhere", "No such file"), ("folder", "Is a directory"), ("", "Is a directory")):
        with pytest.raises(InvalidSetting, match=f"--bases-file {name}: {why}"):
            named_bases([], name)
    with standard_input(None), pytest.raises(InvalidSetting, match="--bases-file standard input: Bad file descriptor"):
        named_bases([], "-")
    with standard_input(b""), pytest.raises(InvalidSetting, match="standard input is empty"):
        named_bases([], "-")


def test_a_named_base_is_one_item() -> None:
    """The Python API takes one base, so a comma in it is an error there."""
    with pytest.raises(InvalidSetting, match=r"base_image: 'a,b' has an invalid"):
        load_for_bases({}, [Named("a,b", "base_image")])
    settings = load_for_bases({}, [Named("a")])
    assert settings.bases == (BaseSetting(image=ImageRef.parse("a")),)
