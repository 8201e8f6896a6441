"""Modules that the action execution server imports when they are first used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from oh_runtime import lazy


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that says when it is loaded."""
    (tmp_path / "slow_package").mkdir()
    (tmp_path / "slow_package/__init__.py").write_text("import sys\nsys.loaded_slowly = True\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "loaded_slowly", False, raising=False)
    monkeypatch.delitem(sys.modules, "slow_package", raising=False)
    return "slow_package"


def loaded() -> bool:
    return bool(getattr(sys, "loaded_slowly", False))


def test_a_module_is_loaded_at_its_first_use(package: str) -> None:
    found = lazy.module(package)
    found.setting = 1  # type: ignore[attr-defined]
    assert not loaded()
    assert found.Thing
    assert loaded()
    assert lazy.module(package) is found
    assert found.setting == 1
    with pytest.raises(ModuleNotFoundError):
        lazy.module("no_such_package_at_all")


def test_attributes_are_imported_when_they_are_named(package: str) -> None:
    get = lazy.attributes({"Thing": package})
    assert not loaded()
    assert get("Thing").__name__ == "Thing"
    with pytest.raises(AttributeError):
        get("Other")


def test_a_class_that_was_never_imported_has_no_instances(package: str) -> None:
    assert not lazy.is_a(1, package, "Thing")
    assert not loaded()
    thing = lazy.module(package).Thing()
    assert lazy.is_a(thing, package, "Thing")
    assert not lazy.is_a(1, package, "Thing")


def test_a_spawned_process_does_not_import_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing, time\nfrom oh_runtime import lazy\nprint('imported')\n"
        "if __name__ == '__main__':\n    multiprocessing.set_start_method('spawn')\n"
        "    with lazy.without_main():\n        process = multiprocessing.Process(target=time.sleep, args=(0,))\n"
        "        process.start()\n    process.join()\n    print(process.exitcode)\n"
    )
    folder = Path(lazy.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(program)], env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["imported", "0"]
    assert isinstance(sys.modules["__main__"], ModuleType)
