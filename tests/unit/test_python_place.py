"""Where our Python installs a user's packages (`_openhands.py`), with synthetic homes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[2] / "dockerfiles/components/python/_openhands.py"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_openhands", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    return module


def test_a_home_that_can_be_written_holds_the_state(place: ModuleType, tmp_path: Path) -> None:
    assert place.state(str(tmp_path)) == f"{tmp_path}/.local/share/openhands"


@pytest.mark.parametrize("home", ["", "relative", "/nonexistent/home"])
def test_otherwise_it_is_in_the_temporary_folder(place: ModuleType, tmp_path: Path, home: str) -> None:
    assert place.state(home, 12345) == f"{tmp_path}/tmp/openhands-12345"


def test_a_home_in_the_state_folder_is_the_same_state(place: ModuleType, tmp_path: Path) -> None:
    """The server may use a substitute home. The agent's shell has the base's home and must find the same folder."""
    own = tmp_path / "tmp/openhands-12345"
    (own / "home").mkdir(parents=True)
    assert place.state(str(own / "home"), 12345) == place.state("/nonexistent", 12345) == str(own)


def test_packages_are_below_the_state(place: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place.user_base() == f"{tmp_path}/.local/share/openhands/python"
    monkeypatch.setenv("PYTHONUSERBASE", "/given")  # without -E: our python3 in a base that has none
    assert place.user_base() == "/given"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can create a folder owned by another user")
def test_a_folder_of_somebody_elses_is_not_used(
    place: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    own = tmp_path / f"tmp/openhands-{os.geteuid()}"
    own.mkdir()
    assert place.user_base() == f"{own}/python"
    os.chown(own, 4242, 4242)
    assert not Path(place.user_base()).is_relative_to(own)
    own.rmdir()
    (tmp_path / "elsewhere").mkdir()
    own.symlink_to(tmp_path / "elsewhere")
    os.chown(own, 4242, 4242, follow_symlinks=False)
    assert not Path(place.user_base()).is_relative_to(own)
