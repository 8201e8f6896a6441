from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bakefile import CA_FILE
from ohbuild.components.choice import choose
from ohbuild.errors import OhbuildError, UsageError
from ohbuild.folder import File, write_folder
from ohbuild.model import DepsImage, ImageRef, Plan, Platform
from ohbuild.plan import make_plan
from ohbuild.render import Rendered, image_key, render, standalone, standalone_deps, write
from ohbuild.settings import Settings
from tests.fakes import FAKES

DIGEST = "sha256:" + "ab" * 32
BASES = ["debian:trixie", {"image": "alpine:3.23", "platforms": ["linux/amd64"]}]


def plan(**settings: Any) -> Plan:
    values = {"image": "localhost:5000/x/runtime", "bases": BASES, "platforms": "linux/amd64,linux/arm64", **settings}
    digests = {"docker.io/library/debian:trixie": DIGEST}
    return make_plan(Settings(**values), FAKES, native=Platform.parse("amd64"), digests=digests)


def parse(rendered: Rendered, bake_print: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    groups = '"default", "components"' if rendered.plan.deps else '"default"'
    everything = f'group "all" {{\n  targets = [{groups}]\n}}\n'
    return bake_print(rendered.hcl + everything)


def test_the_bake_file_is_read_back_as_meant(root: Path, bake_print: Callable[[str], dict[str, Any]]) -> None:
    rendered = render(plan(labels={"x": 'a "${b}" %{c}\n'}), root=root, ca_bundle=b"PEM")
    targets = parse(rendered, bake_print)
    assert list(targets) == [
        *(f"component-{c.name}" for c in FAKES),
        "deps",
        "runtime-alpine-3-23",
        "runtime-debian-trixie",
    ]
    union = ["linux/amd64", "linux/arm64"]
    for component in FAKES:
        target = targets[f"component-{component.name}"]
        assert target["target"] == component.name
        assert target["platforms"] == union
        assert target["output"] == [{"type": "cacheonly"}]
        assert "cache-to" not in target
        assert target["secret"] == [{"id": "ca", "src": "ca.crt"}]
    deps = targets["deps"]
    assert deps["platforms"] == union
    assert deps["cache-to"][0]["ignore-error"] == "true"
    assert deps["tags"] == list(rendered.tags["deps"])
    assert deps["labels"]["x"] == 'a "${b}" %{c}\n'
    runtime = targets["runtime-debian-trixie"]
    assert runtime["platforms"] == union
    assert targets["runtime-alpine-3-23"]["platforms"] == ["linux/amd64"]
    assert runtime["args"]["BASE"] == f"debian:trixie@{DIGEST}"
    assert "contexts" not in runtime
    assert (runtime["dockerfile"], runtime["target"]) == ("../Dockerfile", "runtime")
    assert runtime["labels"]["org.opencontainers.image.base.name"] == "docker.io/library/debian:trixie"
    assert runtime["labels"]["org.opencontainers.image.base.digest"] == DIGEST
    assert runtime["labels"]["dev.ohbuild.deps.key"] == rendered.keys["deps"]
    assert runtime["labels"]["dev.ohbuild.deps.ref"] == rendered.tags["deps"][-1]
    assert runtime["labels"]["dev.ohbuild.component.tmux"] == "3.5a"
    assert "cache-to" not in runtime
    assert runtime["secret"] == [{"id": "ca", "src": "ca.crt"}]
    assert runtime["output"][0]["type"] == "registry"
    assert "index,manifest:org.opencontainers.image.version=0.1.0" in runtime["annotations"]
    writers = [name for name, target in targets.items() if "cache-to" in target]
    assert writers == ["deps"]


def test_every_target_has_a_description_and_every_list_is_stable(root: Path) -> None:
    first, second = render(plan(), root=root), render(plan(), root=root)
    assert first.files == second.files
    assert first.keys == second.keys
    named = re.findall(r'^target "([a-z][^"]*)" \{\n((?:.*\n)*?)\}', first.hcl, flags=re.M)
    assert len(named) == len(FAKES) + 3
    assert all("description" in body for _, body in named)


def test_the_layout_is_that_of_hclfmt(root: Path) -> None:
    text = render(plan(), root=root).hcl
    assert text.endswith("}\n")
    assert "\n\n\n" not in text
    assert "\t" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_a_runtime_executes_nothing(root: Path) -> None:
    text = render(plan(), root=root).files["Dockerfile.runtime"].data.decode()
    code = [line for line in text.splitlines() if line and not line.startswith("#")]
    config = {"ENV", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {line.split()[0] for line in code} == {"ARG", "FROM", "COPY", *config}
    copies = [line for line in code if line.startswith("COPY")]
    own = [f"COPY --link --from=component-{c.name} /openhands /openhands" for c in FAKES]
    assert copies == ["COPY --link opaque /openhands", *own]
    env = [line for line in code if line.startswith("ENV")]
    assert len(env) == 2
    assert env[0].endswith(':/openhands/bin:/openhands/fallback"')
    assert env[1] == 'ENV OH_TMUX="a \\"\\$HOME\\" \\\\ b"'


def test_a_runtime_is_one_solve(root: Path) -> None:
    """The runtime's stage copies from the stages themselves, by the very lines that deps has."""
    files = render(plan(), root=root).files
    stages = files["Dockerfile"].data.decode().split("\nFROM ")
    assert stages[-1].startswith("${BASE} AS runtime\n")
    copies = [line for line in stages[-1].splitlines() if line.startswith("COPY")]
    assert copies == [line for line in stages[-2].splitlines() if line.startswith("COPY")]
    own = [f"COPY --link --from={c.name} /openhands /openhands" for c in FAKES]
    assert copies == ["COPY --link opaque /openhands", *own]
    assert files["context/opaque/.wh..wh..opq"].data == b""
    assert "RUN" not in stages[-1].split()


def test_a_base_cannot_be_taken_for_a_component(root: Path, bake_print: Callable[[str], dict[str, Any]]) -> None:
    """BuildKit looks `FROM python` up among the stages and the named contexts first."""
    rendered = render(plan(bases=["python", "tmux:latest"]), root=root)
    args = [
        target["args"]["BASE"] for name, target in parse(rendered, bake_print).items() if name.startswith("runtime")
    ]
    assert sorted(args) == ["docker.io/library/python:latest", "docker.io/library/tmux:latest"]
    contexts = set(re.findall(r"--from=(\S+)", rendered.files["Dockerfile.runtime"].data.decode()))
    assert not contexts & {"python", "tmux"}


def test_a_ready_deps_image_is_copied_from(root: Path, bake_print: Callable[[str], dict[str, Any]]) -> None:
    ready = DepsImage(
        image=ImageRef.parse(f"ghcr.io/x/deps:1@{DIGEST}"),
        labels={"dev.ohbuild.deps.key": "k", "dev.ohbuild.component.tmux": "9", "other": "x"},
        env={"A": "b"},
    )
    values: dict[str, Any] = {
        "bases": BASES,
        "image": "a.b/c",
        "platforms": "linux/amd64",
        "deps_image": "ghcr.io/x/deps:1",
    }
    made = make_plan(
        Settings(**values),
        FAKES,
        native=Platform.parse("amd64"),
        deps_image=ready,
    )
    rendered = render(made, root=root)
    target = parse(rendered, bake_print)["runtime-debian-trixie"]
    assert target["contexts"] == {"ohbuild-deps": f"docker-image://ghcr.io/x/deps:1@{DIGEST}"}
    assert target["labels"]["dev.ohbuild.component.tmux"] == "9"
    assert target["labels"]["dev.ohbuild.deps.key"] == "k"
    assert target["labels"]["dev.ohbuild.deps.ref"] == f"ghcr.io/x/deps:1@{DIGEST}"
    assert "other" not in target["labels"]
    assert "Dockerfile.deps" not in rendered.files
    assert 'ENV A="b"' in rendered.files["Dockerfile.runtime"].data.decode()


def test_the_key_tells_contents_apart(root: Path) -> None:
    known = render(plan(), root=root).keys
    other: dict[str, dict[str, Any]] = {
        "platforms": {"platforms": "linux/amd64"},
        "labels": {"labels": {"a": "b"}},
        "compression": {"compression": "gzip"},
        "time": {"source_date_epoch": 1},
    }
    for name, settings in other.items():
        assert render(plan(**settings), root=root).keys["deps"] != known["deps"], name
    (root / "dockerfiles" / "core" / "data").write_text("changed")
    changed = render(plan(), root=root).keys
    assert all(changed[name] != known[name] for name in known)


def test_the_folder_holds_what_was_rendered_and_nothing_else(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "folder"
    write(render(plan(), root=root, ca_bundle=b"PEM"), folder)
    (folder / "context" / "old").write_text("x")
    rendered = render(plan(), root=root)
    write(rendered, folder)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*rendered.files, ".gitignore"}
    wrapper = folder / "context" / "wrappers" / "oh-core"
    assert wrapper.stat().st_mode & 0o777 == 0o755
    assert wrapper.stat().st_mtime_ns // 10**9 == rendered.plan.source_date_epoch
    assert (folder / "context" / "core" / "data").stat().st_mode & 0o777 == 0o644


def test_a_folder_of_somebody_else_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "precious").write_text("x")
    with pytest.raises(UsageError, match="was not made by ohbuild"):
        write(render(plan(), root=root), tmp_path)
    assert (tmp_path / "context" / "precious").exists()


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "A B", 'A"'])
def test_a_component_cannot_set_what_reaches_into_the_base(root: Path, name: str) -> None:
    made = plan()
    broken = replace(made, components=(*made.components[:2], replace(made.components[2], env={name: "x"})))
    with pytest.raises(OhbuildError, match="may not set the variable"):
        render(broken, root=root)


def test_what_a_dockerfile_cannot_hold_is_refused(root: Path) -> None:
    made = plan()
    broken = replace(made, components=(*made.components[:2], replace(made.components[2], env={"A": "x\nRUN evil"})))
    with pytest.raises(OhbuildError, match="control character"):
        render(broken, root=root)


def test_a_missing_file_of_a_component_is_told(root: Path) -> None:
    (root / "wrappers" / "oh-core").unlink()
    with pytest.raises(OhbuildError, match="component 'core' names wrappers/oh-core"):
        render(plan(), root=root)


def test_the_real_components_render(bake_print: Callable[[str], dict[str, Any]]) -> None:
    from ohbuild.components import BUILTIN

    made = replace(plan(), components=BUILTIN, stages=BUILTIN)
    targets = parse(render(made), bake_print)
    assert {f"component-{component.name}" for component in BUILTIN} < set(targets)


def test_the_real_components_for_agent_skills_alone_render() -> None:
    from ohbuild.components import BUILTIN

    choice = choose(BUILTIN, requirements=["agent_skills"], browser=False)
    made = replace(plan(), components=choice.components, stages=choice.stages)
    rendered = render(made)
    text = rendered.files["Dockerfile"].data.decode()
    assert "AS action-execution-server" in text
    for name in ("jupyter", "playwright", "chromium", "node", "vscode"):
        assert not re.search(rf"AS {name}$|--from={name}\b|,from={name},|=from={name},", text, flags=re.M), name
    assert "context/wrappers/oh-chromium" not in rendered.files
    assert 'dev.ohbuild.plugins"' in rendered.hcl


def test_another_content_of_the_same_length_has_another_time(root: Path, tmp_path: Path) -> None:
    # BuildKit's upload of a context compares lengths and times, not contents.
    times = []
    for pem in (b"one", b"two", b"one"):
        rendered = render(plan(), root=root, ca_bundle=pem)
        write(rendered, tmp_path / "folder")
        times.append((tmp_path / "folder" / CA_FILE).stat().st_mtime_ns)
    assert times[0] == times[2] != times[1]


def test_a_folder_that_stands_alone_has_all_that_the_bake_file_hands_over(
    root: Path, bake_print: Callable[[str], dict[str, Any]]
) -> None:
    made = plan(labels={"org.example.x": 'a "${b}" c'})
    rendered = render(made, root=root)
    targets = parse(rendered, bake_print)
    for target in made.runtimes:
        files = standalone(made, target, root=root)
        text = files["Dockerfile"].data.decode()
        wanted = targets[target.name]
        for name, value in wanted["args"].items():
            if name != "BUILDKIT_MULTI_PLATFORM":
                assert re.search(rf'^ARG {name}="?{re.escape(value)}"?$', text, flags=re.M), name
        labels = dict(re.findall(r'^LABEL (\S+)="(.*)"$', text.partition(" AS runtime\n")[2], flags=re.M))
        assert {name: re.sub(r"\\(.)", r"\1", value) for name, value in labels.items()} == wanted["labels"]
        # the very steps of the bake, so that either finds what the other has built
        steps = [line for line in text.splitlines() if line.startswith(("FROM", "COPY", "RUN", "ENV"))]
        baked = rendered.files["Dockerfile"].data.decode().splitlines()
        assert steps == [line for line in baked if line.startswith(("FROM", "COPY", "RUN", "ENV"))]
        context = {name.removeprefix("context/"): file for name, file in rendered.files.items() if "context/" in name}
        assert {name: file for name, file in files.items() if name != "Dockerfile"} == context
        assert image_key(made, target, root=root) == rendered.keys[target.name]
    deps = standalone_deps(made, root=root)
    assert "AS runtime" not in deps["Dockerfile"].data.decode()
    assert deps.keys() == files.keys()


def test_only_who_asks_for_something_to_be_executed_gets_its_files(root: Path) -> None:
    made = plan(bases=[{"image": "debian:trixie", "system_packages": ["git"]}, "alpine:3.23"], platforms="linux/amd64")
    first, second = (standalone(made, target, root=root) for target in made.runtimes)
    assert "system-packages/install" in first
    assert "ARG FOUNDATION=system-packages\n" in first["Dockerfile"].data.decode()
    assert "system-packages/install" not in second
    assert "system-packages" not in second["Dockerfile"].data.decode()


def test_extra_deps_are_a_file_and_the_last_stage(root: Path, bake_print: Callable[[str], dict[str, Any]]) -> None:
    commands = "echo 'a \"b\"' $HOME\r\n\tEOT\necho ünïcode"
    made = plan(extra_deps=commands)
    rendered = render(made, root=root)
    assert rendered.files["context/extra-deps/commands"].data.decode() == commands.replace("\r\n", "\n") + "\n"
    assert rendered.files["context/extra-deps/run"].executable
    targets = parse(rendered, bake_print)
    target = targets["runtime-debian-trixie"]
    assert target["target"] == "extended"
    assert target["args"]["OHBUILD_BASE_USER"] == ""
    assert len(target["labels"]["dev.ohbuild.extra-deps"]) == 64
    # deps are the same ones
    plain = render(plan(), root=root)
    assert rendered.files["Dockerfile.deps"] == plain.files["Dockerfile.deps"]
    assert rendered.keys["deps"] == plain.keys["deps"]
    assert targets["deps"]["tags"] == parse(plain, bake_print)["deps"]["tags"]
    assert rendered.tags["runtime-debian-trixie"][0] != plain.tags["runtime-debian-trixie"][0]
    for name, text in rendered.files.items():
        if name.startswith("Dockerfile.r") or name == "Dockerfile":
            assert "FROM runtime AS extended\n" in text.data.decode()
    assert "extra-deps/commands" in standalone(made, made.runtimes[0], root=root)
    assert "extra-deps/commands" not in standalone_deps(made, root=root)


def test_the_key_of_a_runtime_tells_what_goes_in_apart(root: Path) -> None:
    def key(made: Plan) -> str:
        return image_key(made, made.runtimes[0], root=root)

    argued = replace(FAKES[0], args={"COLOUR": "red"})
    values: dict[str, Any] = {"image": "a.b/c", "bases": ["debian:trixie"], "build_args": {"COLOUR": "blue"}}
    settings = Settings(**values)
    native = Platform.parse("amd64")
    made = plan()
    keys = [
        key(made),
        key(plan(extra_deps="echo")),
        key(plan(extra_deps="echo 1")),
        key(replace(made, components=made.components[:2])),
        key(replace(made, stages=made.stages[:2], components=made.components[:2])),
        key(make_plan(settings.model_copy(update={"build_args": {}}), [argued], native=native)),
        key(make_plan(settings, [argued], native=native)),
    ]
    assert len(set(keys)) == len(keys)


def test_a_label_that_a_dockerfile_cannot_hold_is_told(root: Path) -> None:
    made = plan(labels={"x": "a\nb"})
    with pytest.raises(UsageError, match="label 'x': a Dockerfile cannot hold it"):
        standalone(made, made.runtimes[0], root=root)


def test_a_ready_deps_image_leaves_no_deps_to_stand_alone(root: Path) -> None:
    with pytest.raises(UsageError, match="a ready deps image leaves nothing to build"):
        standalone_deps(plan(deps_image="a.b/deps:1"), root=root)


def test_files_are_written_with_the_same_modes_and_times_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "kept").write_text("x")
    write_folder({"b/c/run": File(b"x", executable=True), "b/data": File(b"y")}, folder, 1_000_000)
    assert (folder / "b/c/run").stat().st_mode & 0o777 == 0o755
    assert (folder / "b/data").stat().st_mode & 0o777 == 0o644
    assert {int(path.stat().st_mtime) for path in (folder / "b").rglob("*")} == {1_000_000}
    assert int((folder / "b").stat().st_mtime) == 1_000_000
    assert (folder / "kept").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        write_folder({"a": File(b"")}, tmp_path / "file", 0)
