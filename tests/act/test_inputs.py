"""Whatever an input of the action contains reaches ohbuild unchanged, and nothing of it is run. act does the rest."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ohbuild.docker.connection import Connection
from tests.act.conftest import ROOT, act, make_repository

HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "';touch pwned;'", '";touch pwned;"', "${{ github.token }}", "$HOME", "a b",
    "::error::x", "--help", "x\\ny",
]  # fmt: skip
WORKFLOW = """
name: Inputs
on: push
env:
  BASES: ""
jobs:
  check:
    name: Check
    runs-on: ubuntu-24.04
    steps:
      - name: Check hostile bases
        uses: {action}
        with:
          command: check
          bases: ${{{{ env.BASES }}}}
          working-directory: ${{{{ github.workspace }}}}
"""


def test_hostile_bases_are_reported_and_not_run(engine: Connection, clone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    (action,) = set(re.findall(r"uses: (ohbuild/ohbuild@\w+)", (ROOT / "examples/github/runtimes.yml").read_text()))
    make_repository(folder, clone, {".github/workflows/inputs.yml": WORKFLOW.format(action=action)})
    variables = {**engine.environment(), "PATH": os.environ["PATH"], "BASES": "\n".join(HOSTILE)}
    code, text = act(folder, tmp_path / "cache", "push", variables=variables)
    assert code == 1, text[-5000:]
    assert f"{len(HOSTILE)} bases are invalid" in text, text[-5000:]
    for base in HOSTILE:
        assert repr(base) in text or base in text
    assert not list(tmp_path.rglob("pwned"))
