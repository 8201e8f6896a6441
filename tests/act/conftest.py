"""What act's tests share: a clean clone of the checkout, and how act is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What this run's own environment adds. A job has to do with what a runner has.
LEFT_OUT = ("VIRTUAL_ENV", "PYTHONPATH", "PYTEST_", "OHBUILD_", "COV_", "MAKE", "MFLAGS")


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the checkout as it is, uncommitted changes included."""
    folder = tmp_path_factory.mktemp("act") / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    changes = subprocess.run(["git", "diff", "HEAD", "--binary"], cwd=ROOT, capture_output=True, check=True).stdout
    if changes:
        subprocess.run(["git", "apply", "--index"], cwd=folder, input=changes, check=True)
    return folder


def make_repository(folder: Path, clone: Path, files: Mapping[str, str]) -> None:
    """Makes a user's repository, in which act finds everything that it needs in a clone of the checkout.

    Args:
        folder: The repository, which must not exist.
        clone: The clone.
        files: Texts by path.
    """
    stand_ins = re.compile(r"^(--local-repository \S+)=(.*)$", re.MULTILINE)
    actrc = stand_ins.sub(rf"\1={clone}/\2", (ROOT / ".actrc").read_text())
    for name, text in {**files, ".actrc": actrc}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["init", "--initial-branch=main"], ["add", "--all"], [*author, "commit", "--message", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def act(folder: Path, cache: Path, *words: str, variables: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Runs act.

    Args:
        folder: The repository.
        cache: Folder for what act writes.
        words: Its other arguments.
        variables: The environment variables of the jobs.

    Returns:
        Its exit code, and what it printed.
    """
    more = [word for name, value in (variables or {}).items() for word in ("--env", f"{name}={value}")]
    command = [str(Path(sys.executable).with_name("act")), *words, "--action-cache-path", str(cache), *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout
