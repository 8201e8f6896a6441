"""Every setting that is a list or a table, in its variable; and what editors and other systems do to files."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ohbuild.config.bases import base_items, named_bases
from ohbuild.config.sandbox import SandboxConfig
from ohbuild.config.settings import Settings, load, load_for_bases
from ohbuild.errors import InvalidSetting
from ohbuild.text import table_items

# Items of each setting that is a list or a table.
ITEMS: dict[str, list[str]] = {
    "bases": ["debian:trixie", "[::1]:1/x"],
    "platforms": ["linux/amd64", "arm64"],
    "components": ["core", "tmux"],
    "requirements": ["jupyter", "vscode"],
    "system_packages": ["git", "curl=8.*"],
    "cache_from": ["a.b/c:d", "[::1]:1/e"],
    "build_args": ["A=1", "B=x=y, z"],
    "labels": ["org.example/a=b c", "d=e,f"],
    "kubernetes": ["namespace=ci", "replicas=2", "limits.cpu=500m", "node_selector.kubernetes.io/arch=amd64",
                   "qemu=true"],
}  # fmt: skip


def is_many(annotation: object) -> bool:
    """A list or a table."""
    text = str(annotation)
    return "tuple[" in text or "dict[" in text or (isinstance(annotation, type) and issubclass(annotation, BaseModel))


MANY = [name for name, field in Settings.model_fields.items() if is_many(field.annotation)]


def test_the_samples_are_all_settings_that_are_lists_or_tables() -> None:
    assert sorted(MANY) == sorted(ITEMS)


def as_value(setting: str) -> Any:
    """The value as in a file."""
    return {
        "build_args": {"A": "1", "B": "x=y, z"},
        "labels": {"org.example/a": "b c", "d": "e,f"},
        "kubernetes": {
            "namespace": "ci",
            "replicas": 2,
            "limits": {"cpu": "500m"},
            "node_selector": {"kubernetes.io/arch": "amd64"},
            "qemu": True,
        },
    }.get(setting, ITEMS[setting])


FORMS = {
    "commas": lambda setting: ",".join(ITEMS[setting]),
    "commas and spaces": lambda setting: " , ".join(ITEMS[setting]) + ",",
    "lines": lambda setting: "\n".join(ITEMS[setting]) + "\n",
    "lines of Windows": lambda setting: "\r\n".join(["", *ITEMS[setting], ""]),
    "lines with commas": lambda setting: ",\n".join(ITEMS[setting]),
    "JSON": lambda setting: json.dumps(as_value(setting)),
    "JSON in lines": lambda setting: json.dumps(as_value(setting), indent=1) + "\n",
    "a JSON list of items": lambda setting: json.dumps(ITEMS[setting]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("setting", MANY)
def test_every_list_and_table_takes_every_form(setting: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = getattr(Settings(**{setting: as_value(setting)}), setting)
    assert wanted
    monkeypatch.setenv(f"OHBUILD_{setting.upper()}", FORMS[form](setting))
    loaded = load()
    assert getattr(loaded.settings, setting) == wanted
    assert loaded.origins[setting] == f"environment OHBUILD_{setting.upper()}"


@pytest.mark.parametrize("setting", MANY)
@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_nothing_is_an_empty_list_or_table(setting: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"OHBUILD_{setting.upper()}", text)
    assert not getattr(load().settings, setting) or setting == "kubernetes"


TABLES: list[dict[str, Any]] = [
    {"image": "debian:trixie", "platforms": ["linux/amd64", "linux/arm64"]},
    {"image": "alpine", "system_packages": "git, jq"},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TABLES),
        json.dumps(TABLES, indent=2),
        ",".join(map(json.dumps, TABLES)),
        "\n".join(map(json.dumps, TABLES)),
        "".join(f"{json.dumps(table, indent=1)},\r\n" for table in TABLES),
    ],
)
def test_bases_may_be_tables(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = Settings(bases=TABLES).bases  # type: ignore[arg-type]
    assert load_for_bases({}, named_bases([text])).bases == wanted
    for written in (text, "\ufeff" + text):
        (tmp_path / "bases").write_text(written, encoding="utf-8")
        assert load_for_bases({}, named_bases(None, str(tmp_path / "bases"))).bases == wanted
        monkeypatch.setenv("OHBUILD_BASES", written)
        assert load().settings.bases == wanted


@pytest.mark.parametrize("text", ['{"image": "a"', '{"image": "a"} b', '{"image": "a"}}', "{}{"])
def test_a_broken_table_is_not_a_base(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting):
        load_for_bases({}, named_bases([text]))
    (tmp_path / "bases").write_text(text)
    with pytest.raises(InvalidSetting, match=r"bases:1:.*: not valid JSON"):
        named_bases(None, str(tmp_path / "bases"))


def test_tables_of_the_file_and_the_variable_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ohbuild.toml").write_text('[labels]\na = "1"\nb = "1"\n[kubernetes.limits]\ncpu = "2"\n')
    monkeypatch.setenv("OHBUILD_LABELS", "b=2,c=3")
    monkeypatch.setenv("OHBUILD_KUBERNETES", "limits.memory=4Gi")
    settings = load().settings
    assert settings.labels == {"a": "1", "b": "2", "c": "3"}
    assert (settings.kubernetes.limits.cpu, settings.kubernetes.limits.memory) == ("2", "4Gi")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("LABELS", "{", "OHBUILD_LABELS: not valid JSON"),
        ("LABELS", "a", "OHBUILD_LABELS: 'a' is not NAME=VALUE"),
        ("LABELS", "a=1\nb", "OHBUILD_LABELS: 'b' is not NAME=VALUE"),
        ("LABELS", "=b", "OHBUILD_LABELS: '=b' is not NAME=VALUE"),
        ("BUILD_ARGS", "[" * 9999, "OHBUILD_BUILD_ARGS: not valid JSON"),
        ("BUILD_ARGS", "1A=2", "OHBUILD_BUILD_ARGS: '1A' is not a valid build argument name"),
        ("KUBERNETES", "limit.cpu=2", "OHBUILD_KUBERNETES: unknown key 'limit'"),
        ("KUBERNETES", "limits=2,limits.cpu=2", "OHBUILD_KUBERNETES: expected a table"),
        ("KUBERNETES", "replicas=many", "OHBUILD_KUBERNETES: Input should be a valid integer"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"OHBUILD_{name}", text)
    with pytest.raises(InvalidSetting) as caught:
        load()
    assert message in caught.value.message
    assert caught.value.hint or name == "KUBERNETES"


NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_./-]{0,5}\Z")
VALUES = st.text(st.characters(exclude_characters="\r\n=", exclude_categories=["Cs"]), max_size=9).map(
    lambda text: text.strip().rstrip(",").strip()
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_table_is_the_same_in_every_form(table: dict[str, str]) -> None:
    items = [f"{name}={value}" for name, value in table.items()]
    assert table_items(json.dumps(table)) == table
    assert table_items("\n".join(items)) == table
    assert table_items(json.dumps(items)) == table


@given(st.text())
def test_any_text_is_a_table_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert all(isinstance(name, str) for name in table_items(text))
    base_items(text)


@pytest.mark.parametrize("name", ["123", "1.5", "true", "null"])
def test_a_repository_that_is_also_json_is_a_repository(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ("image", "deps_image", "build_image"):
        monkeypatch.setenv(f"OHBUILD_{setting.upper()}", name)
        assert str(getattr(load().settings, setting)) == name


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", BOM])
def test_files_of_every_editor_are_read(bom: bytes, end: bytes, tmp_path: Path) -> None:
    lines = [b"# comment", "image = 'a.b/c' # é".encode(), b"[labels]", b"a = 1"]
    Path("ohbuild.toml").write_bytes(bom + end.join(lines) + end)
    with pytest.raises(InvalidSetting, match=r"^ohbuild\.toml:4: labels\.a: "):
        load()
    Path("ohbuild.toml").write_bytes(bom + end.join([*lines[:3], b"a = 'b'"]))
    assert load().settings.labels == {"a": "b"}
    Path("ohbuild.toml").unlink()
    Path("pyproject.toml").write_bytes(bom + end.join([b"[tool.ohbuild]", b"image = 'a.b/c'"]))
    assert str(load().settings.image) == "a.b/c"
    (tmp_path / "config.toml").write_bytes(bom + end.join([b"[sandbox]", b"platform = 'linux/arm64'"]))
    assert SandboxConfig.from_toml(tmp_path / "config.toml").platform == "linux/arm64"
    (tmp_path / "bases.txt").write_bytes(bom + end.join([b"debian # x", b"", b"alpine:3.23,busybox", b""]))
    bases = load_for_bases({}, named_bases(None, str(tmp_path / "bases.txt"))).bases
    assert [str(base.image) for base in bases] == ["debian", "alpine:3.23", "busybox"]
