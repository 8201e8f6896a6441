"""The jobs of .github/workflows/ci.yml that need no engine, run by act on this machine, in a clean clone.

.actrc replaces what only GitHub provides. Of the Python versions, this machine has one. `make test` has run all unit
tests before, so the job runs a few, property tests among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.act.conftest import ROOT, act

FEW = {"PYTEST_ADDOPTS": "--ignore-glob=*/test_[!o]* -k test_oh_shell --cov-fail-under=0"}
CACHE = {"MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}


@pytest.mark.parametrize(
    ("job", "variables", "done"),
    [("lint", CACHE, "Contracts: 2 kept, 0 broken."), ("unit", FEW, " passed")],
)
def test_a_job_succeeds(clone: Path, tmp_path: Path, job: str, variables: dict[str, str], done: str) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    words = ("push", "--job", job, "--matrix", f"python:{version}")
    code, text = act(clone, tmp_path, *words, variables=variables)
    assert code == 0, text[-7000:]
    assert "Job succeeded" in text
    assert done in text
