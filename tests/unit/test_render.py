from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bakefile import CA_FILE
from ohbuild.errors import OhbuildError, UsageError
from ohbuild.model import DepsImage, ImageRef, Plan, Platform
from ohbuild.plan import make_plan
from ohbuild.render import Rendered, render, write
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


def test_another_content_of_the_same_length_has_another_time(root: Path, tmp_path: Path) -> None:
    # BuildKit's upload of a context compares lengths and times, not contents.
    times = []
    for pem in (b"one", b"two", b"one"):
        rendered = render(plan(), root=root, ca_bundle=pem)
        write(rendered, tmp_path / "folder")
        times.append((tmp_path / "folder" / CA_FILE).stat().st_mtime_ns)
    assert times[0] == times[2] != times[1]
