"""The jobs of .github/workflows/ci.yml that need no engine, run by act on this machine, in a clean clone.

.actrc replaces what only GitHub provides. Of the Python versions, this machine has one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACT = Path(sys.executable).with_name("act")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the checkout as it is, uncommitted changes included."""
    folder = tmp_path_factory.mktemp("act") / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    changes = subprocess.run(["git", "diff", "HEAD", "--binary"], cwd=ROOT, capture_output=True, check=True).stdout
    if changes:
        subprocess.run(["git", "apply", "--index"], cwd=folder, input=changes, check=True)
    return folder


@pytest.mark.parametrize(
    ("job", "done"),
    [("lint", "Contracts: 2 kept, 0 broken."), ("unit", "Required test coverage of")],
)
def test_a_job_succeeds(clone: Path, tmp_path: Path, job: str, done: str) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    words = [str(ACT), "push", "--job", job, "--matrix", f"python:{version}", "--action-cache-path", str(tmp_path)]
    # Without what this run's own environment adds: a job has to do with what a runner has.
    left_out = ("VIRTUAL_ENV", "PYTHONPATH", "PYTEST_", "OHBUILD_", "COV_", "MAKE", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    ran = subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert "Job succeeded" in ran.stdout
    assert done in ran.stdout
