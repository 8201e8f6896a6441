"""What `make lint-workflows` runs finds mistakes in workflows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github/workflows/ci.yml"


def lint(tool: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(tool)), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("run: make lint-static", "run: echo ${{ github.event.head_commit.message }}", "template-injection"),
        ("        with:\n          persist-credentials: false\n", "", "artipacked"),
        ("actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "actions/checkout@v7", "unpinned-uses"),
        ("contents: read", "contents: write", "excessive-permissions"),
    ],
)
def test_zizmor_finds_what_is_unsafe(tmp_path: Path, before: str, after: str, rule: str) -> None:
    text = WORKFLOW.read_text()
    assert before in text
    copy = tmp_path / ".github" / "workflows" / "ci.yml"
    copy.parent.mkdir(parents=True)
    copy.write_text(text.replace(before, after))
    done = lint("zizmor", "--offline", "--pedantic", "--no-progress", str(copy))
    assert done.returncode != 0
    assert rule in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "schema"),
    [
        ("runs-on:", "run-on:", "vendor.github-workflows"),
        ("    timeout-minutes: 10\n", "", "custom.github-workflows-require-timeout"),
    ],
)
def test_the_schemas_find_what_github_would_refuse(tmp_path: Path, before: str, after: str, schema: str) -> None:
    copy = tmp_path / "ci.yml"
    text = WORKFLOW.read_text()
    assert before in text
    copy.write_text(text.replace(before, after, 1))
    assert lint("check-jsonschema", "--builtin-schema", schema, str(copy)).returncode == 1
