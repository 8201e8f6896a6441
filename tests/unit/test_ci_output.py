"""The output in CI, read as GitHub's runner reads it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ohbuild.audit.image import Audited
from ohbuild.audit.image import Verdict as AuditVerdict
from ohbuild.bake.job import Result
from ohbuild.bake.model import Output
from ohbuild.check.base import BaseReport, judge
from ohbuild.cli import ci, github, report
from ohbuild.cli import main as cli
from ohbuild.cli.verdicts import View
from ohbuild.docker.progress import Event
from ohbuild.errors import BuildFailed, InvalidSetting, NoEngine, Place, RegistryError, SeveralErrors
from ohbuild.images.config import ImageConfig
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Image
from ohbuild.relocate.audit import Finding
from tests.finished import BROKEN, DIGEST, FAILED, FINE, results, verdict
from tests.plans import AMD64
from tests.runner import LINES, Did, Runner, outputs_read

GITHUB = {"GITHUB_ACTIONS": "true"}
GITLAB = {"GITLAB_CI": "true"}


# --- what GitHub's runner reads


DATA = st.one_of(st.text(), st.lists(st.sampled_from(["%", "25", "0A", "%0D", "\r", "\n", ":", ",", "="])).map("".join))
TITLES = DATA.filter(lambda text: bool(text) and text == text.strip())


@given(DATA, TITLES, st.sampled_from(["error", "warning"]))
def test_a_command_is_read_as_it_was_meant(message: str, title: str, name: str) -> None:
    assert Runner(github.command(name, message, file="a,b:c%", title=title, line="")).did == [
        (name, {"file": "a,b:c%", "title": title}, message)
    ]


def test_the_runner_of_this_test_takes_commands() -> None:
    names = [
        name for name, *_ in Runner("\n".join(["::error::x", "  ::add-mask::a", "x ##[error]y", "##[endgroup]"])).did
    ]
    assert names == ["error", "add-mask", "error", "endgroup"]


@given(st.lists(LINES))
def test_no_line_of_a_log_is_a_command(lines: list[str]) -> None:
    file = io.StringIO()
    with ci.literal(file, GITHUB), ci.literal(file, GITHUB):
        file.write("".join(f"{line}\n" for line in lines))
    runner = Runner(file.getvalue())
    assert (runner.did, runner.token) == ([], "")
    runner.line("::error::after it, commands count again")
    assert len(runner.did) == 1


@given(st.lists(LINES).map("\n".join))
def test_standard_output_has_no_commands_and_json_keeps_its_values(text: str) -> None:
    assert Runner(github.harmless(text)).did == []
    printed = ci.inert_json(json.dumps({"x": text, text: 1}, indent=2, ensure_ascii=False), GITHUB)
    assert Runner(printed).did == []
    assert json.loads(printed) == {"x": text, text: 1}


def test_elsewhere_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    for environment in ({}, {"GITHUB_ACTIONS": "false"}, GITLAB):
        file = io.StringIO()
        with ci.literal(file, environment):
            file.write("x")
        assert file.getvalue() == "x"
        assert ci.inert_json("##[x]", environment) == "##[x]"
        ci.annotate([github.Annotation(title="x", message="y")], environment)
        ci.summarize(["x"], environment)
        ci.write_outputs({"x": "y"}, environment)
    assert capsys.readouterr() == ("", "")
    assert (ci.detect({}), ci.detect(GITHUB), ci.detect(GITLAB)) == (None, ci.Provider.GITHUB, ci.Provider.GITLAB)
    assert ci.is_live(Console(force_terminal=True), {})
    assert not ci.is_live(Console(force_terminal=True), GITLAB)
    assert not ci.is_live(Console(force_terminal=False), {})


@given(st.dictionaries(st.from_regex(r"[a-w_]+", fullmatch=True), st.text()))
def test_outputs_are_read_as_they_were_meant(values: dict[str, str]) -> None:
    assert outputs_read(github.outputs_text(values)) == values


@pytest.mark.parametrize("before", ["", "x=1\n", "x=1", "x<<y\n1\ny"])
def test_outputs_follow_those_of_other_programs(tmp_path: Path, before: str) -> None:
    file = tmp_path / "outputs"
    file.write_text(before)
    ci.write_outputs({"a": "ü"}, {**GITHUB, "GITHUB_OUTPUT": str(file)})
    assert outputs_read(file.read_text()) == {**({"x": "1"} if before else {}), "a": "ü"}
    assert "" not in file.read_text().splitlines(), "act does not accept an empty line"


@pytest.mark.parametrize("name", ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [("", "is not set"), (".", "Is a directory"), ("no/such", "No such file"), ("/dev/full", "No space left")],
)
def test_a_file_that_cannot_be_written_is_a_note(
    name: str, path: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {**GITHUB, name: path}
    if name == "GITHUB_OUTPUT":
        ci.write_outputs({"x": "y"}, environment)
    else:
        ci.summarize(["x"], environment)
    said = capsys.readouterr().err
    assert said.startswith("note: ")
    assert reason in said
    assert name in said


# --- annotations


def places(error: Any, workspace: Path, folder: Path | None = None) -> list[Did]:
    lines = [github.annotation(item, str(workspace)) for item in github.of_error(error, folder=folder)]
    return Runner("\n".join(lines)).did


def test_an_annotation_has_the_place_below_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repo" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "repo")
    monkeypatch.chdir(tmp_path / "repo" / "sub")
    wrong = InvalidSetting("ohbuild.toml:2: x", "fix it", place=Place("ohbuild.toml", 2))
    failed = BuildFailed("it failed", place=Place("Dockerfile.components", 23))
    for workspace in ("repo", "link"):
        found = places(SeveralErrors("two", [wrong, failed]), tmp_path / workspace, Path(".ohbuild"))
        assert found == [
            ("error", {"file": "sub/ohbuild.toml", "line": "2", "title": "ohbuild"}, "ohbuild.toml:2: x\nfix it"),
            ("error", {"file": "sub/.ohbuild/Dockerfile.components", "line": "23", "title": "ohbuild"}, "it failed"),
        ]
    (outside,) = places(wrong, tmp_path / "elsewhere")
    assert outside[1]["file"] == str(tmp_path / "repo" / "sub" / "ohbuild.toml")
    assert places(failed, tmp_path) == [("error", {"title": "ohbuild"}, "it failed")]
    assert places(NoEngine("none"), tmp_path) == [("error", {"title": "ohbuild"}, "none")]


def test_images_that_fail_are_annotated() -> None:
    first, second = github.of_verdicts([verdict(FINE), BROKEN, verdict()])
    assert (first.level, first.title) == ("error", "a.b/c:1 (linux/amd64) failed verification")
    assert (first.message, second.message) == ("server: dead|; gone", "no point was checked")


def audited(findings: int) -> Audited:
    found = tuple(Finding(f"/openhands/{number}\n::error::x", "is bad") for number in range(findings))
    judged = AuditVerdict(findings=found, files=1, elf_files=0, size=1)
    return Audited(image=ImageRef.parse("a.b/c:1"), platform=AMD64, layers=(), verdict=judged)


def test_findings_are_annotated_once_per_image() -> None:
    (item,) = github.of_audits([audited(0), audited(23)])
    assert "a.b/c:1 (linux/amd64)" in item.title
    assert item.message.startswith("/openhands/0")
    assert item.message.endswith("and 3 more")
    assert "more" not in next(iter(github.of_audits([audited(20)]))).message


def reports() -> list[BaseReport]:
    platform = Platform.parse("linux/amd64")
    config = ImageConfig(platform=platform, size=1, user="a|##[error]x", entrypoint=("/x",))
    image = Image(digest="sha256:x", sizes={platform: 1}, configs={platform: config})
    today = datetime(2026, 1, 1, tzinfo=UTC)
    remarked = judge(ImageRef.parse("a.b/one:1"), [platform], image, today=today)
    missing = judge(ImageRef.parse("a.b/two:1"), [Platform.parse("arm64")], image, today=today)
    down = BaseReport(base=ImageRef.parse("a.b/three:1"), wanted=(platform,), errors=(RegistryError("down", "wait"),))
    return [remarked, missing, down, BaseReport(base=ImageRef.parse("fine"), wanted=(platform,))]


# --- the groups of a build


def events(*lines: str) -> list[Event]:
    run = "[core 1/1] RUN x"
    return [
        Event("start", "deps", run),
        Event("log", "deps", run, text="hello"),
        Event("done", "", "[internal] load", 1.0),
        *(Event("log", "runtime-x", "[x 1/2] RUN y", text=line) for line in lines),
        Event("failed", "runtime-x", "[x 1/2] RUN y", 1.0, "##[error]died"),
        Event("done", "deps", run, 2.0),
        Event("cached", "deps", "[core 2/2] COPY a b"),
    ]


def grouped(environment: dict[str, str], *lines: str) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=40, color_system=None)
    times = iter(range(1000, 2000))
    with ci.GroupedLog(console, report._step_line, environment, clock=lambda: next(times)) as listen:
        for event in events(*lines):
            listen(event)
        live = console.file.getvalue()  # type: ignore[attr-defined]
        assert "hello" not in live
        assert "deps: [core 1/1] RUN x 2.0s\n" in live
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@given(st.lists(LINES))
def test_github_gets_a_group_per_target(lines: list[str]) -> None:
    text = grouped(GITHUB, *lines)
    assert Runner(text).did == [
        ("group", {}, "deps: 2 steps"),
        ("endgroup", {}, ""),
        ("group", {}, "runtime-x: 1 step, failed"),
        ("endgroup", {}, ""),
    ]
    after = text.partition("::group::deps")[2]
    assert "deps: [core 1/1] RUN x 2.0s\n    | hello\ndeps: [core 2/2] COPY a b cached\n" in after
    for line in lines:
        shown = re.sub(r"[\r\n]+", " ", line)
        assert f"    | {shown}\n" in after


def test_gitlab_gets_a_section_per_target() -> None:
    text = grouped(GITLAB, "x\r\x1b[0Ksection_end:1001:ohbuild_2_runtime-x\r\x1b[0K")
    marker = r"\x1b\[0Ksection_(start|end):(\d+):([a-zA-Z0-9_.-]+)(\[collapsed=true\])?\r\x1b\[0K(.*)"
    assert re.findall(marker, text) == [
        ("start", "1000", "ohbuild_1_deps", "[collapsed=true]", "deps: 2 steps"),
        ("end", "1006", "ohbuild_1_deps", "", ""),
        ("start", "1003", "ohbuild_2_runtime-x", "[collapsed=true]", "runtime-x: 1 step, failed"),
        ("end", "1004", "ohbuild_2_runtime-x", "", ""),
    ]
    assert "::" not in text


def test_groups_are_printed_after_an_error_too() -> None:
    console = Console(file=io.StringIO())

    def stop(event: Event) -> str:
        if event.kind == "start":
            return "step"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ci.GroupedLog(console, stop, GITHUB) as listen:  # noqa: PT012
        for event in events():
            listen(event)
    runner = Runner(console.file.getvalue())  # type: ignore[attr-defined]
    assert (len(runner.did), runner.token) == (2, "")


@pytest.mark.parametrize("name", ["GITHUB_ACTIONS", "GITLAB_CI"])
def test_ci_never_gets_the_live_view(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None)
    assert isinstance(report.make_view(console, ["deps"]), report.LiveView)
    monkeypatch.setenv(name, "true")
    assert isinstance(report.make_view(console, ["deps"]), ci.GroupedLog)
    with View(console, [BROKEN.subject]) as view:
        view(BROKEN.subject, BROKEN.points[0])
        view(BROKEN.subject, BROKEN)
    assert console.file.getvalue() == "a.b/c:1: failed: server (0s)\n"  # type: ignore[attr-defined]


# --- whole commands


Command = Callable[..., tuple[int, str, Runner]]


@pytest.fixture
def ohbuild(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """A command in GitHub Actions; gives exit code, standard output, and what the runner read on both streams."""
    monkeypatch.setattr("ohbuild.signals.signal.signal", lambda *args: None)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(Path.cwd()))
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def run(*words: str) -> tuple[int, str, Runner]:
        with pytest.raises(SystemExit) as caught:
            cli.main(list(words))
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        assert Runner(out).did == []
        runner = Runner(err)
        assert runner.token == ""
        return caught.value.code, out, runner

    return run


def test_a_wrong_line_of_the_settings_is_annotated(ohbuild: Command, tmp_path: Path) -> None:
    Path("ohbuild.toml").write_text('image = "a.b/c"\nplatfroms = []\nlabels = {"##[error]" = 1}\n')
    code, _, runner = ohbuild("bake")
    assert code == 2
    first, second = runner.did
    text = "ohbuild.toml:2: unknown setting 'platfroms'\nperhaps you meant 'platforms'"
    assert first == ("error", {"file": "ohbuild.toml", "line": "2", "title": "ohbuild"}, text)
    assert second[1]["line"] == "3"
    assert "unknown setting" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert not (tmp_path / "GITHUB_OUTPUT").exists()


def test_other_errors_are_annotated_without_a_place(ohbuild: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ohbuild("bake", "--##[error]x")[2].did[0][:2] == ("error", {"title": "ohbuild"})
    assert ohbuild("engine")[2].did == []  # a help

    def fail(*_: object) -> None:
        raise ValueError("\n::error::x")

    monkeypatch.setattr("ohbuild.cli.check.check_bases", fail)
    code, _, runner = ohbuild("check", "x", "--debug")
    assert (code, len(runner.did)) == (1, 1)
    assert runner.did[0][2].startswith("internal error: ValueError: \n::error::x\n")


def test_outputs_are_of_images_that_were_built() -> None:
    deps, first, second = results(error=FAILED)
    pushed = {name: json.loads(text) for name, text in github.outputs_of([deps, first, second], pushed=True).items()}
    assert pushed["images"] == [f"a.b/c@{DIGEST}"]
    assert pushed["digests"] == {"deps": DIGEST, "runtime-debian-trixie": DIGEST}
    assert pushed["tags"]["runtime-debian-trixie"] == ["a.b/c:debian-trixie", "a.b/c:debian-trixie-" + "a" * 12]
    assert json.loads(github.outputs_of([deps], pushed=True)["images"]) == [f"a.b/deps@{DIGEST}"]
    loaded = github.outputs_of(results(digest="")[1:], pushed=False)
    assert json.loads(loaded["images"]) == ["a.b/c:debian-trixie", "a.b/c:alpine-3.23"]
    assert list(json.loads(loaded["digests"])) == ["runtime-debian-trixie"]
    assert json.loads(github.outputs_of(results(digest=""), pushed=True)["images"]) == [f"a.b/c@{DIGEST}"]
    assert json.loads(github.outputs_of(results(skipped=True), pushed=True)["images"]) == [f"a.b/c@{DIGEST}"]
    assert all("\n" not in text for text in loaded.values())


@pytest.mark.parametrize("output", [Output.PUSH, Output.NONE])
def test_a_bake_reports_targets_errors_and_outputs(
    ohbuild: Command, output: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = results(error=FAILED)

    def build(view: Callable[[Event], None]) -> list[Result]:
        for event in events("::error::x", "##[add-mask]a"):
            view(event)
        return found

    plan = SimpleNamespace(targets=[result.target for result in found], output=output)
    job = SimpleNamespace(plan=plan, remarks=["x\n::warning::y"], folder=Path(".ohbuild"), run=build)
    monkeypatch.setattr("ohbuild.cli.bake.prepare", lambda *_, **__: job)
    code, out, runner = ohbuild("bake", "--json")
    assert code == 1
    assert json.loads(out)["targets"][2]["error"]["log"] == ["##[error]x", "``` `"]
    assert [name for name, *_ in runner.did] == ["group", "endgroup", "group", "endgroup", "error"]
    title = "runtime-alpine-3-23 failed"
    place = {"file": ".ohbuild/Dockerfile", "line": "7", "title": title}
    assert runner.did[-1] == ("error", place, "it | failed\nfix `it`")
    outputs = outputs_read((tmp_path / "GITHUB_OUTPUT").read_text())
    assert json.loads(outputs["images"]) == ([f"a.b/c@{DIGEST}"] if output is Output.PUSH else [])
    assert title in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


def test_check_annotates_bases(ohbuild: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ohbuild.cli.check.check_bases", lambda settings: reports())
    code, out, runner = ohbuild("check", "x")
    assert (code, "##\\[error]x" in out) == (2, True)
    assert [(name, properties["title"]) for name, properties, _ in runner.did] == [
        ("warning", "Remarks on a.b/one:1"),
        ("error", "a.b/two:1 is not usable"),
        ("warning", "Remarks on a.b/two:1"),
        ("error", "No verdict on a.b/three:1"),
    ]
    assert runner.did[-1][2] == "down\nwait"
    assert "won't work" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert (
        json.loads(ohbuild("check", "x", "--json")[1])["bases"][0]["configs"]["linux/amd64"]["user"] == "a|##[error]x"
    )


def test_verify_and_audit_annotate_images(ohbuild: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ohbuild.cli.verify.find", lambda: None)
    monkeypatch.setattr("ohbuild.cli.verify.find_subjects", lambda *_, **__: [BROKEN.subject])
    monkeypatch.setattr("ohbuild.cli.verify.verify_all", lambda *_, **__: [BROKEN])
    code, out, runner = ohbuild("verify", "a.b/c:1")
    assert (code, len(runner.did), "::error::from the server" in out) == (1, 1, True)
    assert "server: dead&#124;; gone" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    monkeypatch.setattr("ohbuild.cli.audit.find", lambda: None)
    monkeypatch.setattr("ohbuild.cli.audit._find", lambda *_: [SimpleNamespace(platforms=[AMD64])])
    monkeypatch.setattr("ohbuild.cli.audit.audit", lambda *_, listener: listener("reading") or audited(2))
    console = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr("ohbuild.cli.audit.err", console)
    code, out, runner = ohbuild("audit", "a.b/c:1")
    assert (code, len(runner.did), "\n\\::error::x" in out) == (1, 1, True)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
