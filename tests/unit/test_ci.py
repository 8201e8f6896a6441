"""The files that describe the CI agree with each other, and the commands in them can fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML  # check-jsonschema's parser

ROOT = Path(__file__).parents[2]
ACT = Path(sys.executable).with_name("act")
WORKFLOW = ROOT / ".github/workflows/ci.yml"
STAND_IN = re.compile(r"^--local-repository (?P<action>\S+@\w+)=(?P<folder>\S+)$", re.MULTILINE)


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def jobs() -> dict[str, Any]:
    return dict(load(WORKFLOW)["jobs"])


def copy(folder: Path, *names: str) -> None:
    for name in names:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)


# A mistake for each command of `make lint-workflows`: file, text, wrong text, and what must be in the output.
MISTAKES = [
    (".github/workflows/ci.yml", "make lint-static", "echo ${{ github.head_ref }}", "template-injection"),
    ("action.yml", """'"$GITHUB_ACTION_PATH/action/run"'""", "ohbuild ${{ inputs.bases }}", "template-injection"),
    ("examples/github/runtimes.yml", "packages: write # to push the images", "contents: write", "duplicate"),
    ("examples/github/renew-locks.yml", "timeout-minutes: 60", "continue-on-error: false", "timeout-minutes"),
    ("tests/act/setup-python/action.yml", "runs:", "run:", "'runs' is a required property"),
    ("examples/gitlab/.gitlab-ci.yml", "parallel:", "parallell: 2\n  parallel: x\n  ignored:", "parallel"),
    (".github/ISSUE_TEMPLATE/bug.yml", "type: textarea", "type: essay", "essay"),
]  # fmt: skip


def make_lint_workflows(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = ["make", *flags, "--file", str(ROOT / "Makefile"), "--old-file", ".venv/installed", "lint-workflows"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def make_mistakes(folder: Path, *mistakes: tuple[str, str, str, str]) -> None:
    """Copies what `make lint-workflows` reads, with mistakes."""
    copy(folder, ".github", "action.yml", "examples")
    (folder / "tests").mkdir()
    copy(folder, "tests/act")
    (folder / ".venv").symlink_to(sys.prefix)
    for file, before, after, _ in mistakes:
        text = (folder / file).read_text()
        assert before in text
        (folder / file).write_text(text.replace(before, after, 1))


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the commands of `make lint-workflows` print when none ends it. A run for each mistake would take longer."""
    folder = tmp_path_factory.mktemp("workflows")
    make_mistakes(folder, *MISTAKES)
    done = make_lint_workflows(folder, "--ignore-errors")
    return done.stdout + done.stderr


@pytest.mark.parametrize("mistake", MISTAKES[2:], ids=lambda mistake: mistake[0])
def test_make_lint_workflows_finds_a_mistake(mistake: tuple[str, str, str, str], findings: str) -> None:
    assert mistake[3] in findings


def test_every_command_of_make_lint_workflows_fails(findings: str) -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nlint-workflows:")[2].partition("\n\n")[0]
    commands = re.findall(r"^\t(.*)", recipe, re.MULTILINE)
    failures = re.findall(r"^make: \[.*: lint-workflows\] Error \d+ \(ignored\)$", findings, re.MULTILINE)
    assert len(failures) == len(commands) == 6
    assert not [command for command in commands if command.startswith("-")], "its failure would be ignored"


@pytest.mark.parametrize("mistake", MISTAKES[:2], ids=lambda mistake: mistake[0])
def test_make_lint_workflows_fails(tmp_path: Path, mistake: tuple[str, str, str, str]) -> None:
    make_mistakes(tmp_path, mistake)
    done = make_lint_workflows(tmp_path)
    assert done.returncode != 0
    assert mistake[3] in done.stdout + done.stderr


def test_every_supported_python_is_tested() -> None:
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert classifiers == jobs()["unit"]["strategy"]["matrix"]["python"]


def test_act_replaces_the_actions_that_are_used() -> None:
    """Otherwise act would look for an action on GitHub. It does the checkout itself."""
    text = (ROOT / ".actrc").read_text()
    stand_ins = {found["action"]: found["folder"] for found in STAND_IN.finditer(text)}
    every = [job for path in (WORKFLOW, *(ROOT / "examples/github").iterdir()) for job in load(path)["jobs"].values()]
    every.append(load(ROOT / "action.yml")["runs"])
    used = {step["uses"] for job in every for step in job["steps"] if "uses" in step}
    assert set(stand_ins) == {action for action in used if not action.startswith("actions/checkout@")}
    assert all((ROOT / folder / "action.yml").exists() for folder in stand_ins.values())
    assert {f"-P {job['runs-on']}=-self-hosted" for job in jobs().values()} <= set(text.splitlines())


def test_a_python_that_is_not_installed_fails_the_job(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "tests").mkdir(parents=True)
    copy(checkout, ".actrc", "tests/act")
    text = WORKFLOW.read_text()
    (checkout / "ci.yml").write_text(text.replace('python-version: "3.11"', 'python-version: "3.99"'))
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *author, "commit", "--quiet", "--allow-empty", "-m", "x"], cwd=checkout, check=True)
    words = ["push", "--workflows", "ci.yml", "--job", "lint", "--action-cache-path", str(tmp_path / "cache")]
    done = subprocess.run([str(ACT), *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    # act's own lines: what a step prints just before it ends can be lost.
    assert "Failure - Main Set up Python" in done.stdout
    assert "Main Run the static checks" not in done.stdout


def test_pre_commit_runs_commands_of_make_lint() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for hook in (hook for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]):
        assert hook["language"] == "system"
        program, _, words = hook["entry"].partition(" ")
        if program == "make":
            assert f"\n{words}: " in makefile
        else:
            assert f"\t{hook['entry']}" in makefile
            assert ACT.with_name(Path(program).name).exists()
