"""Whatever an input of the action contains reaches ohbuild unchanged, and nothing of it is run. act does the rest."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ohbuild.docker.connection import Connection
from tests.act.conftest import ROOT, act, make_repository

HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "';touch pwned;'", '";touch pwned;"', "$HOME", "a b",
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
      - name: Check out
        uses: actions/checkout@v7
      - name: Check hostile bases
        uses: {action}
        with:
          command: check
          bases: ${{{{ env.BASES }}}}
          bases-file: bases.txt
          working-directory: ${{{{ github.workspace }}}}
"""


def test_hostile_bases_are_reported_and_not_run(engine: Connection, clone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    (action,) = set(re.findall(r"uses: (ohbuild/ohbuild@\w+)", (ROOT / "examples/github/runtimes.yml").read_text()))
    # act would replace an expression in a variable, which GitHub does not.
    files = {".github/workflows/inputs.yml": WORKFLOW.format(action=action), "bases.txt": "${{ github.token }}\n"}
    make_repository(folder, clone, files)
    variables = {**engine.environment(), "PATH": os.environ["PATH"], "BASES": "\n".join(HOSTILE)}
    code, text = act(folder, tmp_path / "cache", "push", variables=variables)
    assert code == 1, text[-5000:]
    for base in HOSTILE:
        assert f"::error title=ohbuild::{base!r} " in text, text[-5000:]
    assert "::error file=bases.txt,line=1,title=ohbuild::bases.txt:1: '${{ github.token }}' " in text, text[-5000:]
    assert not list(tmp_path.rglob("pwned"))
