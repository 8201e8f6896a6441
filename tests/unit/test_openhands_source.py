"""The source hash detects modified sources, and ignores what running or copying the sources changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.openhands import VERSION, source_hash


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "openhands"
    (folder / "runtime").mkdir(parents=True)
    (folder / "__init__.py").write_text("x = 1\n")
    (folder / "runtime" / "base.py").write_text("y = 2\n")
    return folder


def test_the_release_is_the_components() -> None:
    assert [item.version for item in BUILTIN if item.name == "action-execution-server"] == [VERSION]


def test_what_running_or_copying_changes_does_not_count(source: Path, tmp_path: Path) -> None:
    before = source_hash(source)
    (source / "README.md").write_text("read me")
    (source / "runtime" / "__pycache__").mkdir()
    (source / "runtime" / "__pycache__" / "base.cpython-313.pyc").write_bytes(b"\0")
    (source / "sdk").mkdir()
    (source / "sdk" / "__init__.py").write_text("another distribution's")
    assert source_hash(source) == before
    # OpenHands' prep_build_folder copies it in this way.
    ignored = shutil.ignore_patterns(".*/", "__pycache__/", "*.pyc", "*.md")
    shutil.copytree(source, tmp_path / "code" / "openhands", ignore=ignored)
    assert source_hash(tmp_path / "code" / "openhands") == before


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename"])
def test_every_change_of_the_source_counts(source: Path, change: str) -> None:
    before = source_hash(source)
    file = source / "runtime" / "base.py"
    if change == "edit":
        file.write_text("y = 3\n")
    elif change == "add":
        (source / "sdk.py").write_text("")
    elif change == "remove":
        file.unlink()
    else:
        file.rename(source / "base.py")
    assert source_hash(source) != before
