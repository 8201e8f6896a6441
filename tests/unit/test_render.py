from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.archives import opaque_whiteout
from ohbuild.bake.bakefile import CA_FILE
from ohbuild.bake.model import ComponentImage, DepsImage, Plan
from ohbuild.bake.render import Rendered, render, standalone, write
from ohbuild.components.builtin import BUILTIN
from ohbuild.config.settings import Settings
from ohbuild.errors import OhbuildError, UsageError
from ohbuild.folder import File, write_folder
from ohbuild.images.reference import ImageRef
from tests.fakes import FAKES, fake_components
from tests.plans import AMD64, ARM64, planned

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
BASES = ["debian:trixie", {"image": "alpine:3.23", "platforms": ["linux/amd64"]}]
Bake = Callable[[str], dict[str, Any]]


def plan(known: Any = FAKES, *, images: dict[str, str] | None = None, **more: Any) -> Plan:
    values = {"image": "localhost:5000/x/runtime", "bases": BASES, "platforms": "linux/amd64,linux/arm64", **more}
    digests = {"docker.io/library/debian:trixie": DIGEST}
    return planned(Settings(**values), known, digests=digests, images=images or {})


def whole(made: Plan) -> Plan:
    """Returns the plan after all component images were built."""
    return made.with_images({item.target.name: OTHER for item in made.missing})


def parse(rendered: Rendered, bake_print: Bake) -> dict[str, Any]:
    groups = '"default", "components"' if rendered.plan.missing else '"default"'
    return bake_print(f'{rendered.hcl}\ngroup "all" {{\n  targets = [{groups}]\n}}\n')


def copies(text: str, stage: str) -> list[str]:
    body = next(part for part in text.split("\nFROM ")[1:] if part.splitlines()[0].endswith(f" AS {stage}"))
    return [line for line in body.splitlines() if line.startswith(("COPY", "ADD"))]


def test_the_bake_file_is_read_back_as_meant(bake_print: Bake) -> None:
    rendered = render(plan(labels={"x": 'a "${b}" %{c}\n'}), ca_bundle=b"PEM")
    targets = parse(rendered, bake_print)
    components = [f"component-{c.name}-{arch}" for c in FAKES for arch in ("amd64", "arm64")]
    assert sorted(targets) == sorted([*components, "deps", "runtime-alpine-3-23", "runtime-debian-trixie"])
    union = ["linux/amd64", "linux/arm64"]
    for item in rendered.plan.missing:
        target = targets[item.target.name]
        assert target["target"] == f"component-{item.component}"
        assert target["platforms"] == [str(item.platform)]
        assert target["tags"] == [str(item.image)]
        assert target["output"][0]["type"] == "registry"
        assert target["args"] == {"SOURCE_DATE_EPOCH": "1735689600", "BUILD_IMAGE": f"debian:trixie@{DIGEST}"}
        assert not {"cache-to", "cache-from", "annotations"} & set(target)
        assert target["secret"] == [{"id": "ca", "src": "ca.crt"}]
    contexts = {
        f"component-{item.component}::{item.platform}": f"docker-image://{item.image}" for item in rendered.plan.images
    }
    deps = targets["deps"]
    assert deps["platforms"] == union
    assert [cache["mode"] for cache in deps["cache-to"]] == ["min", "min"]
    assert {cache["ignore-error"] for cache in deps["cache-to"]} == {"true"}
    assert [cache["ref"] for cache in deps["cache-to"]] == list(rendered.plan.cache_to)
    assert deps["tags"] == list(rendered.tags["deps"])
    assert deps["labels"]["x"] == 'a "${b}" %{c}\n'
    runtime = targets["runtime-debian-trixie"]
    assert runtime["platforms"] == union
    assert targets["runtime-alpine-3-23"]["platforms"] == ["linux/amd64"]
    assert runtime["args"]["BASE"] == f"debian:trixie@{DIGEST}"
    assert deps["contexts"] == runtime["contexts"] == contexts
    assert runtime["tags"] == list(rendered.tags["runtime-debian-trixie"])
    assert (runtime["dockerfile"], runtime["target"]) == ("../Dockerfile", "runtime")
    assert runtime["labels"]["org.opencontainers.image.base.name"] == "docker.io/library/debian:trixie"
    assert runtime["labels"]["org.opencontainers.image.base.digest"] == DIGEST
    assert runtime["labels"]["dev.ohbuild.key"] == rendered.keys["runtime-debian-trixie"]
    assert runtime["labels"]["dev.ohbuild.deps.key"] == rendered.keys["deps"]
    assert runtime["labels"]["dev.ohbuild.deps.ref"] == rendered.tags["deps"][-1]
    assert runtime["labels"]["dev.ohbuild.component.tmux"] == "3.5a"
    assert runtime["secret"] == [{"id": "ca", "src": "ca.crt"}]
    assert runtime["output"][0]["type"] == "registry"
    assert "index,manifest:org.opencontainers.image.version=0.1.0" in runtime["annotations"]
    writers = [name for name, target in targets.items() if "cache-to" in target]
    assert writers == ["deps"]


def test_a_base_without_a_digest_has_no_label_for_it(bake_print: Bake) -> None:
    target = parse(render(plan()), bake_print)["runtime-alpine-3-23"]
    assert target["args"]["BASE"] == "docker.io/library/alpine:3.23"
    assert "org.opencontainers.image.base.digest" not in target["labels"]
    assert not [text for text in target["annotations"] if "base.digest" in text]
    known = parse(render(plan(bases=["debian:trixie"])), bake_print)["runtime-debian-trixie"]
    assert f"index,manifest:org.opencontainers.image.base.digest={DIGEST}" in known["annotations"]


def test_what_exists_is_copied_from_and_stands_in_for_its_stage(bake_print: Bake) -> None:
    core, arm = (str(item.image) for item in plan().images[:2])
    rendered = render(plan(images={core: DIGEST}))
    targets = parse(rendered, bake_print)
    assert "component-core-amd64" not in targets
    assert targets["deps"]["contexts"]["component-core::linux/amd64"] == f"docker-image://{core}@{DIGEST}"
    assert targets["deps"]["contexts"]["component-core::linux/arm64"] == f"docker-image://{arm}"
    assert rendered.keys == render(plan()).keys, "a key does not depend on what exists"
    # the real components use each other's stages
    real = plan(BUILTIN)
    there = {str(item.image): DIGEST for item in real.images if item.component in ("core", "python")}
    targets = parse(render(plan(BUILTIN, images=there)), bake_print)
    assert set(targets["component-agent-server-arm64"]["contexts"]) == {"core", "python"}
    assert set(targets["component-tmux-arm64"]["contexts"]) == {"core"}
    core = next(str(item.image) for item in real.images if (item.component, item.platform) == ("core", ARM64))
    assert targets["component-tmux-arm64"]["contexts"]["core"] == f"docker-image://{core}@{DIGEST}"


def test_with_all_there_nothing_but_the_assembly_is_left() -> None:
    rendered = render(plan(images={str(item.image): DIGEST for item in plan().images}))
    assert sorted(rendered.files) == ["Dockerfile", "context/opaque.tar", "docker-bake.hcl"]
    assert '"component"' not in rendered.hcl


def test_a_base_is_a_line() -> None:
    few, many = (
        render(plan(bases=[f"a.b/c:{number}" for number in range(count)], platforms="linux/amd64")).hcl.count("\n")
        for count in (1, 501)
    )
    assert many - few == 500


@pytest.mark.parametrize(("store", "driver"), [("docker", "docker"), ("layout", "remote")])
def test_without_a_registry_component_images_are_where_the_builder_finds_them(
    bake_print: Bake, monkeypatch: pytest.MonkeyPatch, store: str, driver: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", '/tmp/a "${b}" c')
    values: dict[str, Any] = {"image": "me/runtime", "bases": ["debian:trixie"], "platforms": "linux/amd64"}
    made = planned(Settings(**values), driver=driver)
    targets = parse(render(made), bake_print)
    tag = made.images[0].image.tag
    output = targets["component-core-amd64"]["output"][0]
    context = targets["deps"]["contexts"]["component-core::linux/amd64"]
    if store == "docker":
        assert (output["type"], context) == ("docker", f"docker-image://ohbuild/deps:{tag}")
    else:
        place = f'/tmp/a "${{b}}" c/ohbuild/components/{tag}'
        assert (output["type"], output["tar"], output["dest"]) == ("oci", "false", place)
        assert context == f"oci-layout://{place}:{tag}"
    assert targets["runtime-debian-trixie"]["output"][0]["type"] == "docker"


def test_the_marker_that_hides_a_bases_own_is_the_same_everywhere() -> None:
    assert opaque_whiteout(1) == opaque_whiteout(1) != opaque_whiteout(2)
    made = plan(source_date_epoch=7)
    assert render(made).files["context/opaque.tar"] == opaque_whiteout(7)
    assert standalone(made, made.runtimes[0])["opaque.tar"] == opaque_whiteout(7)


def test_a_cache_of_the_component_builds_is_an_option(bake_print: Bake) -> None:
    targets = parse(render(plan(component_cache="a.b/cache")), bake_print)
    (cache,) = targets["component-core-arm64"]["cache-to"]
    assert (cache["ref"], cache["mode"]) == ("a.b/cache:core-arm64", "max")
    assert targets["component-core-arm64"]["cache-from"] == [{"ref": "a.b/cache:core-arm64", "type": "registry"}]


def test_every_target_has_a_description_and_every_list_is_stable() -> None:
    first, second = render(plan()), render(plan())
    assert first.files == second.files
    assert first.keys == second.keys
    named = re.findall(r'^target "([a-z][^"]*)" \{\n((?:.*\n)*?)\}', first.hcl, flags=re.M)
    assert [name for name, _ in named] == ["component", "deps", "runtime"]
    assert all("description" in body for _, body in named)


def test_the_layout_is_that_of_hclfmt() -> None:
    text = render(plan()).hcl
    assert text.endswith("}\n")
    assert "\n\n\n" not in text
    assert "\t" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_an_assembly_executes_nothing() -> None:
    text = render(plan()).files["Dockerfile"].data.decode()
    code = [line for line in text.splitlines() if line and not line.startswith("#")]
    config = {"ENV", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {line.split()[0] for line in code} == {"ARG", "FROM", "ADD", "COPY", *config}
    own = [f"COPY --link --from=component-{c.name} /openhands /openhands" for c in FAKES]
    assert copies(text, "deps") == copies(text, "runtime") == ["ADD --link opaque.tar /", *own]
    env = [line for line in code if line.startswith("ENV")]
    assert next(line for line in env if "PATH" in line).endswith(':/openhands/bin:/openhands/fallback"')
    assert env.count('ENV OH_TMUX="a \\"\\$HOME\\" \\\\ b"') == 2, "deps and runtime have the same variables"


def test_a_base_cannot_be_taken_for_a_component(bake_print: Bake) -> None:
    """BuildKit first looks up `FROM python` among the stages and the named contexts."""
    rendered = render(plan(bases=["python", "tmux:latest"]))
    targets = parse(rendered, bake_print)
    args = [target["args"]["BASE"] for name, target in targets.items() if name.startswith("runtime")]
    assert sorted(args) == ["docker.io/library/python:latest", "docker.io/library/tmux:latest"]
    contexts = set(re.findall(r"--from=(\S+)", rendered.files["Dockerfile"].data.decode()))
    assert not contexts & {"python", "tmux"}


def test_a_ready_deps_image_is_the_ordinary_way(bake_print: Bake) -> None:
    first = plan(platforms="linux/amd64")
    rendered = render(whole(first))
    labels = parse(rendered, bake_print)["deps"]["labels"]
    images = tuple(
        ComponentImage(
            component=item.component,
            platform=AMD64,
            image=ImageRef.parse(labels[f"dev.ohbuild.component-image.{item.component}.amd64"]),
            exists=True,
        )
        for item in first.images
    )
    env = {"OH_TMUX": 'a "$HOME" \\ b'}
    deps_image = ImageRef.parse(f"ghcr.io/x/deps:1@{DIGEST}")
    ready = DepsImage(image=deps_image, labels={**labels, "other": "x"}, env=env, images=images)
    values: dict[str, Any] = {"bases": BASES, "image": "localhost:5000/x/runtime", "platforms": "linux/amd64"}
    digests = {"docker.io/library/debian:trixie": DIGEST}
    values["deps_image"] = "ghcr.io/x/deps:1"
    made = planned(Settings(**values), deps_image=ready, digests=digests)
    again = render(made)
    after, before = (parse(item, bake_print)["runtime-debian-trixie"] for item in (again, rendered))
    assert after["contexts"] == before["contexts"]
    assert after["labels"]["dev.ohbuild.deps.ref"] == str(deps_image)
    assert "other" not in after["labels"]
    assert {k for k in before["labels"] if after["labels"][k] != before["labels"][k]} == {"dev.ohbuild.deps.ref"}
    assert again.keys["runtime-debian-trixie"] == rendered.keys["runtime-debian-trixie"], "however its deps came"
    assert "Dockerfile.components" not in again.files
    assert not made.missing


def test_the_key_tells_contents_apart(tmp_path: Path) -> None:
    fakes = fake_components(tmp_path)
    known = render(plan(fakes)).keys
    other: dict[str, dict[str, Any]] = {
        "platforms": {"platforms": "linux/amd64"},
        "labels": {"labels": {"a": "b"}},
        "compression": {"compression": "gzip"},
        "time": {"source_date_epoch": 1},
    }
    for name, settings in other.items():
        assert render(plan(fakes, **settings)).keys["deps"] != known["deps"], name
    (tmp_path / "core" / "data").write_text("changed")
    changed = render(plan(fakes)).keys
    assert all(changed[name] != known[name] for name in known)


def test_the_key_of_a_runtime_tells_what_goes_in_apart() -> None:
    def key(made: Plan) -> str:
        return render(made).keys["runtime-debian-trixie"]

    argued = replace(FAKES[0], args={"COLOUR": "red"})
    keys = [
        key(plan()),
        key(plan(extra_deps="echo")),
        key(plan(extra_deps="echo 1")),
        key(plan(components=["python"])),
        key(plan([argued])),
        key(plan([argued], build_args={"COLOUR": "blue"})),
    ]
    assert len(set(keys)) == len(keys)


def test_a_folder_that_stands_alone_has_all_that_the_bake_file_hands_over(bake_print: Bake) -> None:
    made = whole(plan(labels={"org.example.x": 'a "${b}" c'}))
    rendered = render(made)
    baked = rendered.files["Dockerfile"].data.decode()
    targets = parse(rendered, bake_print)
    for target in made.runtimes:
        files = standalone(made, target)
        assert sorted(files) == ["Dockerfile", "opaque.tar"]
        text = files["Dockerfile"].data.decode()
        wanted = targets[target.name]
        for name, value in wanted["args"].items():
            if name != "BUILDKIT_MULTI_PLATFORM":
                assert re.search(rf'^ARG {name}="?{re.escape(value)}"?$', text, flags=re.M), name
        labels = dict(re.findall(r'^LABEL (\S+)="(.*)"$', text.partition(" AS runtime\n")[2], flags=re.M))
        assert {name: re.sub(r"\\(.)", r"\1", value) for name, value in labels.items()} == wanted["labels"]
        assert copies(text, "runtime") == copies(baked, "runtime")
        env = [
            [line for line in whole_text.partition(" AS runtime\n")[2].splitlines() if line.startswith("ENV")]
            for whole_text in (text, baked)
        ]
        assert env[0] == env[1]
        several = r"^FROM localhost:5000/x/deps:core-[0-9a-f]{12}-\$\{TARGETARCH\} AS component-core$"
        assert re.search(several, text, re.M)
    single = whole(plan(platforms="linux/arm64", bases=["debian:trixie"]))
    text = standalone(single, single.runtimes[0])["Dockerfile"].data.decode()
    one = rf"^FROM localhost:5000/x/deps:core-[0-9a-f]{{12}}-arm64@{OTHER} AS component-core$"
    assert re.search(one, text, re.M)


def test_only_who_asks_for_something_to_be_executed_gets_its_files() -> None:
    made = plan(bases=[{"image": "debian:trixie", "system_packages": ["git"]}, "alpine:3.23"], platforms="linux/amd64")
    first, second = (standalone(made, target) for target in made.runtimes)
    assert "system-packages/install" in first
    assert "ARG FOUNDATION=system-packages\n" in first["Dockerfile"].data.decode()
    assert "system-packages/install" not in second
    assert "system-packages" not in second["Dockerfile"].data.decode()


def test_extra_deps_are_a_file_and_the_last_stage(bake_print: Bake) -> None:
    commands = "echo 'a \"b\"' $HOME\r\n\tEOT\necho ünïcode"
    made = plan(extra_deps=commands)
    rendered = render(made)
    assert rendered.files["context/extra-deps/commands"].data.decode() == commands.replace("\r\n", "\n") + "\n"
    assert rendered.files["context/extra-deps/run"].executable
    targets = parse(rendered, bake_print)
    target = targets["runtime-debian-trixie"]
    assert target["target"] == "extended"
    assert target["args"]["OHBUILD_BASE_USER"] == ""
    assert len(target["labels"]["dev.ohbuild.extra-deps"]) == 64
    # deps does not change
    plain = render(plan())
    assert rendered.keys["deps"] == plain.keys["deps"]
    assert targets["deps"]["tags"] == parse(plain, bake_print)["deps"]["tags"]
    assert [item.image for item in made.images] == [item.image for item in plain.plan.images]
    assert rendered.tags["runtime-debian-trixie"][0] != plain.tags["runtime-debian-trixie"][0]
    assert "FROM runtime AS extended\n" in rendered.files["Dockerfile"].data.decode()
    assert "extra-deps/commands" in standalone(made, made.runtimes[0])


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "A B", 'A"'])
def test_a_component_cannot_set_what_reaches_into_the_base(name: str) -> None:
    made = plan()
    broken = replace(made, components=(*made.components[:2], replace(made.components[2], env={name: "x"})))
    with pytest.raises(OhbuildError, match="may not set the variable"):
        render(broken)


def test_what_a_dockerfile_cannot_hold_is_refused() -> None:
    made = plan()
    broken = replace(made, components=(*made.components[:2], replace(made.components[2], env={"A": "x\nRUN evil"})))
    with pytest.raises(OhbuildError, match="control character"):
        render(broken)


def test_a_label_that_a_dockerfile_cannot_hold_is_told() -> None:
    made = plan(labels={"x": "a\nb"})
    with pytest.raises(UsageError, match="label 'x' cannot be written to a Dockerfile"):
        standalone(made, made.runtimes[0])


def test_the_folder_holds_what_was_rendered_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "folder"
    write(render(plan(), ca_bundle=b"PEM"), folder)
    (folder / "context" / "old").write_text("x")
    rendered = render(plan())
    write(rendered, folder)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*rendered.files, ".gitignore"}
    wrapper = folder / "context" / "wrappers" / "oh-core"
    assert wrapper.stat().st_mode & 0o777 == 0o755
    assert wrapper.stat().st_mtime_ns // 10**9 == rendered.plan.source_date_epoch
    assert (folder / "context" / "core" / "data").stat().st_mode & 0o777 == 0o644


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "precious").write_text("x")
    with pytest.raises(UsageError, match="was not created by ohbuild"):
        write(render(plan()), tmp_path)
    assert (tmp_path / "context" / "precious").exists()


def test_another_content_of_the_same_length_has_another_time(tmp_path: Path) -> None:
    # When BuildKit uploads a context, it compares sizes and times, not contents.
    times = []
    for pem in (b"one", b"two", b"one"):
        write(render(plan(), ca_bundle=pem), tmp_path / "folder")
        times.append((tmp_path / "folder" / CA_FILE).stat().st_mtime_ns)
    assert times[0] == times[2] != times[1]


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
