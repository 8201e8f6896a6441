"""What verify decides without a container: differences of environments, references, tables, reasons, modes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from ohbuild.commands.verify import all_ok
from ohbuild.components import BUILTIN
from ohbuild.errors import Interrupted, UsageError
from ohbuild.model import ImageRef, Platform
from ohbuild.verify import point_names, probes, show
from ohbuild.verify.docker import CommandFailed, Done
from ohbuild.verify.find import subjects_of
from ohbuild.verify.model import MODES, PointResult, State, Subject, Verdict, mode_named
from ohbuild.verify.points import POINTS, Skip, asked, components_of, differences

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
        assert found == ["B is 'x', not '2'", "C is gone (it was '3')", "D='4' is added"]

    @pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "TMUX", "LC_CTYPE"])
    def test_what_is_known_to_have_leaked_elsewhere_is_a_difference(self, name: str) -> None:
        assert list(differences({}, {name: "x"}, switched=True)) == [f"{name}='x' is added"]

    def test_home_that_the_image_sets_stays_unless_the_user_is_another(self) -> None:
        assert list(differences({"HOME": "/a"}, {"HOME": "/b"}, switched=False)) == ["HOME is '/b', not '/a'"]
        assert list(differences({"HOME": "/a"}, {"HOME": "/b", "USER": "b"}, switched=True)) == []


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
        assert all(item.pull for item in found)

    def test_without_a_digest_it_is_the_local_copy(self) -> None:
        (found,) = subjects_of(ImageRef.parse("a/b:c"), [AMD64], MODES[:1])
        assert found.reference == "a/b:c"
        assert not found.pull

    def test_components_come_from_the_labels(self) -> None:
        labels = {"dev.ohbuild.component.tmux": "3.5a", "dev.ohbuild.components": "tmux", "other": "x"}
        assert components_of({"Labels": labels}) == {"tmux": "3.5a"}
        assert components_of({"Labels": None}) == {}


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
            if wrapper in ("oh-action-execution-server", "oh-base-python"):
                continue  # the point "server" is about it; python3 of a base that has none: "own-tools"
            assert re.search(rf"/{wrapper}\b", commands), f"no check of {component.name} runs {wrapper}"
        assert len({check.name for check in component.checks}) == len(component.checks)
        for check in component.checks:
            assert check.command[0].startswith("/openhands/"), f"{component.name}: {check.name}"
            assert check.expect, f"{component.name}: {check.name} would take any output"
            re.compile(check.expect)


def test_probes_are_programs() -> None:
    for name in ("SERVE", "WAIT", "INK", "WHICH", "WHEEL", "PROCESSES"):
        compile(getattr(probes, name), name, "exec")
