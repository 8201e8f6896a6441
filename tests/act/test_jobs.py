"""The jobs of .github/workflows/ci.yml that need no engine, run by act on this machine, in a clean clone.

.actrc replaces what only GitHub provides. Of the Python versions, this machine has one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.act.conftest import act


@pytest.mark.parametrize(
    ("job", "done"),
    [("lint", "Contracts: 2 kept, 0 broken."), ("unit", "Required test coverage of")],
)
def test_a_job_succeeds(clone: Path, tmp_path: Path, job: str, done: str) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    code, text = act(clone, tmp_path, "push", "--job", job, "--matrix", f"python:{version}")
    assert code == 0, text[-7000:]
    assert "Job succeeded" in text
    assert done in text
