"""The contract about imports (pyproject.toml, docs/architecture.md) holds, and what breaks it is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copied(tmp_path)


def copied(folder: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "ohbuild", folder / "ohbuild", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def lint(folder: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, " ".join(done.stdout.split())


def test_the_contract_holds(copy: Path) -> None:
    code, said = lint(copy)
    assert code == 0, said
    assert "2 kept, 0 broken" in said


# A module, what is added to it, and what is printed about it.
WRONG = [
    ("images/platform.py", "from ohbuild.config import settings", "images is not allowed to import ohbuild.config"),
    ("errors.py", "def f() -> None:\n    from ohbuild import process", "errors is not allowed to import"),
    ("bake/facts.py", "from ohbuild.bake import plan", "no circles BROKEN"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    folder = copied(tmp_path_factory.mktemp("wrong"))
    for module, line, _ in WRONG:
        with (folder / "ohbuild" / module).open("a") as file:
            file.write(f"\n\n{line}\n")
    return lint(folder)


@pytest.mark.parametrize("told", [told for _, _, told in WRONG])
def test_an_import_upwards_or_in_a_circle_is_found(found: tuple[int, str], told: str) -> None:
    code, said = found
    assert code == 1
    assert told in said


def test_a_module_that_is_in_no_room_is_found(copy: Path) -> None:
    (copy / "ohbuild" / "elsewhere.py").touch()
    code, said = lint(copy)
    assert code == 1
    assert "ohbuild.elsewhere" in said
