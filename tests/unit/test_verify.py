"""The parts of verify that need no container: environments, subjects, modes, results and tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from ohbuild.bake.job import Result
from ohbuild.bake.model import Base, Output, Target
from ohbuild.bake.run import Outcome
from ohbuild.cli import verdicts as show
from ohbuild.cli.verify import all_ok, baked_subjects
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import load
from ohbuild.docker.client import CommandFailed, Done
from ohbuild.errors import Interrupted, OhbuildError, UsageError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.verify import probes
from ohbuild.verify.environment import differences, variables
from ohbuild.verify.find import subjects_of
from ohbuild.verify.model import MODES, PointResult, State, Subject, Verdict, mode_named
from ohbuild.verify.point import Skip, asked, components_of
from ohbuild.verify.points import POINTS, point_names, promises
from tests.engine import matrix

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def subject(label: str = "localhost:5000/a/runtime:debian-trixie", mode: str = "default") -> Subject:
    return Subject(label=label, reference=label, platform=AMD64, mode=mode_named(mode))


class TestEnvironment:
    def test_the_same_is_no_difference(self) -> None:
        env = {"PATH": "/bin", "LANG": "odd"}
        assert (
            list(differences(env, {**env, "TERM": "tmux", "SHLVL": "1", "PS1": "$ ", "HOME": "/root"}, switched=False))
            == []
        )

    def test_each_kind_names_the_variable(self) -> None:
        wanted = {"A": "1", "B": "2", "C": "3"}
        found = list(differences(wanted, {"A": "1", "B": "x", "D": "4"}, switched=False))
        assert found == ["B is 'x', not '2'", "C is missing (it was '3')", "D='4' was added"]

    @pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "TMUX", "LC_CTYPE"])
    def test_what_is_known_to_have_leaked_elsewhere_is_a_difference(self, name: str) -> None:
        assert list(differences({}, {name: "x"}, switched=True)) == [f"{name}='x' was added"]

    def test_home_that_the_image_sets_stays_unless_the_user_is_another(self) -> None:
        assert list(differences({"HOME": "/a"}, {"HOME": "/b"}, switched=False)) == ["HOME is '/b', not '/a'"]
        assert list(differences({"HOME": "/a"}, {"HOME": "/b", "USER": "b"}, switched=True)) == []

    def test_values_may_hold_lines_and_equals_signs(self) -> None:
        assert variables("A=1=2\0B=x\ny\0") == {"A": "1=2", "B": "x\ny"}


class TestAsked:
    def test_nothing_wrong(self) -> None:
        assert asked(lambda: iter(())) == (State.OK, ())

    def test_what_came_before_an_exception_counts(self) -> None:
        def ask() -> Iterator[str]:
            yield "first"
            raise CommandFailed("second")

        assert asked(ask) == (State.FAILED, ("first", "second"))

    def test_skip(self) -> None:
        def ask() -> Iterator[str]:
            yield from ()
            raise Skip("because")

        assert asked(ask) == (State.SKIPPED, ("because",))

    def test_an_answer_that_is_not_understood_fails(self) -> None:
        assert asked(lambda: [json.loads("{")])[0] is State.FAILED

    def test_ctrl_c_goes_through(self) -> None:
        def ask() -> Iterator[str]:
            yield from ()
            raise Interrupted("stopped")

        with pytest.raises(Interrupted):
            asked(ask)


class TestTheLineThatTells:
    @pytest.mark.parametrize(
        ("err", "line"),
        [
            (
                "Traceback\n  File\nModuleNotFoundError: No module 'x'\n",
                "ModuleNotFoundError: No module 'x'",
            ),
            (
                "docker: Error: no\n\nRun 'docker run --help' for more information\n",
                "docker: Error: no",
            ),
            ("ModuleNotFoundError: encodings\n\n<no Python frame>\n", "ModuleNotFoundError: encodings"),
            ("", "it printed nothing"),
        ],
    )
    def test_last(self, err: str, line: str) -> None:
        assert Done(1, "", err).last == line


class TestModes:
    def test_an_unknown_one_names_the_nearest(self) -> None:
        with pytest.raises(UsageError) as caught:
            mode_named("readonly")
        assert "'read-only'" in caught.value.hint

    def test_the_first_is_a_plain_docker_run(self) -> None:
        assert (MODES[0].options, MODES[0].command, MODES[0].agent) == ((), (), None)


class TestSubjects:
    def test_every_platform_and_mode_pinned(self) -> None:
        digest = "sha256:" + "a" * 64
        found = subjects_of(ImageRef.parse("localhost:5000/a/b:c"), [AMD64, ARM64], MODES[:2], digest)
        assert len(found) == 4
        assert {item.reference for item in found} == {f"localhost:5000/a/b@{digest}"}
        assert all(item.digest for item in found)

    def test_without_a_digest_it_is_the_local_copy(self) -> None:
        (found,) = subjects_of(ImageRef.parse("a/b:c"), [AMD64], MODES[:1])
        assert found.reference == "a/b:c"
        assert not found.digest

    def test_components_come_from_the_labels(self) -> None:
        labels = {"dev.ohbuild.component.tmux": "3.5a", "dev.ohbuild.components": "tmux", "other": "x"}
        assert components_of({"Labels": labels}) == {"tmux": "3.5a"}
        assert components_of({"Labels": None}) == {}


class TestBaked:
    def result(self, base: bool = True, error: OhbuildError | None = None) -> Result:
        repository = ImageRef.parse("localhost:5000/a/runtime")
        target = Target(
            name="runtime-x",
            repository=repository,
            tag="x",
            platforms=(AMD64, ARM64),
            base=Base(image=ImageRef.parse("debian:trixie")) if base else None,
        )
        outcome = Outcome(target="runtime-x", digest="sha256:" + "b" * 64, error=error)
        return Result(target=target, outcome=outcome, tags=("localhost:5000/a/runtime:x",))

    def test_what_was_pushed_is_verified_by_its_digest_for_each_platform(self) -> None:
        found = baked_subjects([self.result()], Output.PUSH)
        assert [item.platform for item in found] == [AMD64, ARM64]
        assert {item.reference for item in found} == {"localhost:5000/a/runtime@sha256:" + "b" * 64}

    def test_what_was_loaded_is_in_the_store(self) -> None:
        found = baked_subjects([self.result()], Output.LOAD)
        assert {item.reference for item in found} == {"localhost:5000/a/runtime:x"}
        assert not any(item.digest for item in found)

    def test_neither_deps_nor_what_failed(self) -> None:
        assert baked_subjects([self.result(base=False), self.result(error=OhbuildError("no"))], Output.PUSH) == []


class TestShow:
    def verdict(self, **states: State) -> Verdict:
        points = tuple(PointResult(name=name, state=state, reasons=("a reason",)) for name, state in states.items())
        return Verdict(subject=subject(), points=points, log=("last line",))

    def test_titles_are_short_and_tell_apart(self) -> None:
        labels = ["localhost:5000/a/runtime:debian-trixie", "localhost:5000/a/runtime:debian-sid"]
        assert show.titles([subject(label) for label in labels]) == ["debian-trixie", "debian-sid"]
        assert show.titles([subject(labels[0]), subject(labels[0], "read-only")])[1].endswith("(read-only)")

    def test_a_failure_has_its_reason_and_a_dead_server_its_log(self) -> None:
        lines = [text for text, _ in show.reasons([self.verdict(server=State.FAILED, browse=State.SKIPPED)])]
        assert lines[0].endswith("server: a reason")
        assert lines[1] == "    | last line"
        assert "browse: a reason" in lines[2]

    def test_table_and_data_hold_every_point(self) -> None:
        verdict = self.verdict(server=State.OK, browse=State.FAILED, **{"plug-in": State.SKIPPED})
        console = Console(width=100)
        with console.capture() as captured:
            show.print_verdicts(console, [verdict])
        rows = [line.split() for line in captured.get().splitlines()[1:4]]
        assert rows == [["server", "✓"], ["browse", "✗"], ["plug-in", "–"]]
        data = show.as_data([verdict])[0]
        assert not data["ok"]
        assert [point["state"] for point in data["points"]] == ["ok", "failed", "skipped"]

    def test_ok_needs_points_and_no_failure(self) -> None:
        assert not Verdict(subject=subject()).ok
        assert self.verdict(server=State.OK, x=State.SKIPPED).ok
        assert not all_ok([self.verdict(server=State.OK), self.verdict(server=State.FAILED)])


def test_names_of_points_are_unique() -> None:
    names = point_names()
    assert len(set(names)) == len(names)
    assert all(point.name in names for point in POINTS)


def test_every_wrapper_is_run_by_a_check_of_its_component() -> None:
    for component in BUILTIN:
        assert component.checks, f"{component.name} has no check"
        commands = " ".join(word for check in component.checks for word in check.command)
        for wrapper in component.wrappers:
            if wrapper in ("oh-agent-server", "oh-action-execution-server", "oh-base-python"):
                continue  # covered by the points "server" and "own-tools"
            assert re.search(rf"/{wrapper}\b", commands), f"no check of {component.name} runs {wrapper}"
        assert len({check.name for check in component.checks}) == len(component.checks)
        for check in component.checks:
            assert check.command[0].startswith("/openhands/"), f"{component.name}: {check.name}"
            assert check.expect, f"{component.name}: {check.name} would accept any output"
            re.compile(check.expect)


def test_probes_are_programs() -> None:
    for name in ("SERVE", "WAIT", "INK", "WHICH", "WHEEL", "PROCESSES"):
        compile(getattr(probes, name), name, "exec")


class TestMatrix:
    """The table in docs/verify.md, written by `make matrix`, matches the rows and points of the code."""

    @pytest.fixture
    def lines(self) -> list[str]:
        text = matrix.PAGE.read_text()
        assert text.count(matrix.BEGIN) == text.count(matrix.END) == 1
        return text.partition(matrix.BEGIN)[2].partition(matrix.END)[0].strip().splitlines()

    def cells(self, line: str) -> list[str]:
        return [cell.strip() for cell in line.strip("|").split("|")]

    def test_the_page_has_every_row_and_point(self, lines: list[str]) -> None:
        table = [self.cells(line) for line in lines if line.startswith("|")]
        assert table[0] == ["base", *point_names(), "special"]
        assert [row[0] for row in table[2:]] == [row.name for row in matrix.ROWS]
        rows = [line for line in lines if line.startswith("- **")]
        assert rows == [f"- **{row.name}**: {row.what}" for row in matrix.ROWS]
        assert all(f"- *{name}*: {promise}" in lines for name, promise in promises().items())

    def test_what_does_not_apply_has_no_mark_of_the_others(self, lines: list[str]) -> None:
        table = [self.cells(line) for line in lines if line.startswith("|")]
        for row, cells in zip(matrix.ROWS, table[2:], strict=True):
            marks = dict(zip((*point_names(), "special"), cells[1:], strict=True))
            assert {mark for name, mark in marks.items() if name not in row.points} <= {"–"}, row.name
            assert set(marks.values()) <= {"✓", "✗", "–"}, row.name

    def test_rows_of_one_base_are_together_and_names_unique(self) -> None:
        assert len({row.name for row in matrix.ROWS}) == len(matrix.ROWS)
        modes = {row.mode for row in matrix.ROWS}
        assert modes >= {"default", "numeric-user", "read-only", "no-capabilities", "openhands"}
        assert {row.platform for row in matrix.ROWS} == {"linux/amd64", "linux/arm64"}

    def test_settings_of_the_bake_name_each_base_once_with_its_platforms(self, tmp_path: Path) -> None:
        references = {
            row.base: row.base if ":" in row.base else f"localhost:5000/matrix/{row.base}:1" for row in matrix.ROWS
        }
        (tmp_path / "ohbuild.toml").write_text(matrix.settings("localhost:5000", references, matrix.ROWS))
        found = load(config=tmp_path / "ohbuild.toml").settings
        assert [str(base.image) for base in found.bases] == list(references.values())
        platforms = {str(base.image): [str(item) for item in base.platforms] for base in found.bases}
        assert platforms["debian:trixie"] == ["linux/amd64", "linux/arm64"]
        assert platforms["alpine:3.23"] == ["linux/amd64"]
