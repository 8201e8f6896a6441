"""Extensions, agent plug-ins and extra commands, in images that are really baked and started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ohbuild.bake.job import prepare
from ohbuild.bake.render import standalone
from ohbuild.config.settings import Settings
from ohbuild.docker.connection import Connection
from ohbuild.folder import write_folder
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from ohbuild.images.registry_config import Registries
from ohbuild.verify import probes
from tests.engine.runtime import docker, started
from tests.fakes import fake_components
from tests.plugins import install

AMD64 = Platform.parse("linux/amd64")


@pytest.fixture(scope="module")
def place(own_registry: str) -> str:
    return f"{own_registry}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the example and the broken extension."""
    return install(tmp_path_factory.mktemp("site"), "ohbuild-example", "ohbuild-broken")


@dataclass
class Command:
    """Runs ``ohbuild`` as a user would."""

    engine: Connection
    folder: Path
    site: Path | None = None

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.engine.environment()}
        environment |= {"PYTHONPATH": str(self.site)} if self.site else {}
        command = [sys.executable, "-m", "ohbuild", *words]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def __call__(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = self.run(*words, "--json")
        assert done.returncode == code, done.stderr[-4000:] + done.stdout[-2000:]
        return dict(json.loads(done.stdout))

    def bake(self, base: str, image: str, *words: str) -> dict[str, Any]:
        """Bakes a base and returns the runtime image's entry in the report."""
        made = self("bake", base, "--platform", "linux/amd64", "--image", image, "--folder", "out", *words)
        return dict(made["targets"][1])


@pytest.fixture(scope="module")
def ohbuild(engine: Connection, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(engine, tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="module")
def plugged(ohbuild: Command, site: Path) -> Command:
    """The command with the extensions installed."""
    return Command(ohbuild.engine, ohbuild.folder, site)


@pytest.fixture(scope="module")
def greeting(engine: Connection, plugged: Command, place: str) -> Iterator[str]:
    """An image with the example's component and the components it requires."""
    words = ("--component", "greeting", "--build-arg", 'GREETING_TEXT=Grüße aus $HOME, "world"')
    tag = plugged.bake("alpine:3.23", f"{place}/greeting", *words)["tags"][-1]
    yield tag
    docker(engine, "image", "rm", "--force", tag, check=False)


def test_a_plugins_component_is_in_the_image(engine: Connection, greeting: str) -> None:
    def run(*words: str) -> str:
        return docker(engine, "run", "--rm", greeting, *words)

    assert run("/openhands/bin/oh-greet", "you") == 'Grüße aus $HOME, "world", you.\n'
    assert "GREETING_HOME=/openhands/greeting" in run("env").splitlines()
    # the component it was built with was available during the build, but is not in the image
    assert int(run("cat", "/openhands/greeting/modules")) > 100
    folders = set(run("ls", "/openhands").split())
    assert "greeting" in folders
    assert "python" not in folders
    config = json.loads(docker(engine, "image", "inspect", greeting))[0]["Config"]
    labels = config["Labels"]
    assert labels["dev.ohbuild.components"] == "core,greeting"
    assert labels["dev.ohbuild.component.greeting"] == "1.2.3"
    assert labels["dev.ohbuild.plugins"] == "greeting"
    assert labels["dev.ohbuild.build-arg.GREETING_TEXT"] == 'Grüße aus $HOME, "world"'
    assert not [name for name in config["Env"] if "GREETING_TEXT" in name]


def test_its_check_is_asked(plugged: Command, ohbuild: Command, greeting: str) -> None:
    def points(command: Command) -> dict[str, Any]:
        return {point["name"]: point for point in command("verify", greeting)["images"][0]["points"]}

    assert points(plugged)["greeting"]["state"] == "ok"
    without = points(ohbuild)["greeting"]
    assert (without["state"], without["reasons"]) == ("skipped", ["no installed extension provides 'greeting'"])


def test_another_value_of_its_argument_is_another_image(plugged: Command, place: str) -> None:
    one, two = (
        plugged.bake("alpine:3.23", f"{place}/greeting", "--component", "greeting", *words)
        for words in ((), ("--build-arg", "GREETING_TEXT=Moin"))
    )
    assert not {*one["tags"]} & {*two["tags"]}
    assert one["digest"] != two["digest"]
    again = plugged.bake("alpine:3.23", f"{place}/greeting", "--component", "greeting")
    assert (again["tags"], again["digest"]) == (one["tags"], one["digest"])


def test_a_plugin_that_is_asked_for_and_broken_is_told(plugged: Command, place: str) -> None:
    done = plugged.run("bake", "alpine:3.23", "--image", f"{place}/x", "--component", "syntax")
    assert done.returncode == 2
    assert "unknown component 'syntax'" in done.stderr


def test_an_image_for_agent_skills_alone(engine: Connection, ohbuild: Command, place: str) -> None:
    made = ohbuild.bake("alpine:3.23", f"{place}/runtime", "--agent-plugin", "agent_skills", "--no-browser")
    whole = ohbuild.bake("alpine:3.23", f"{place}/runtime", "--no-browser", "--server", "action-execution-server")
    assert made["sizes"]["linux/amd64"] < 0.8 * whole["sizes"]["linux/amd64"]
    assert not {*made["tags"]} & {*whole["tags"]}
    image = made["tags"][-1]
    try:
        with started(engine, image) as running:
            assert running.run("echo $((6*7))").strip() == "42"
            for told in (
                running.action("browse", url="http://x/"),
                running.action("browse_interactive", browser_actions="noop()"),
            ):
                assert (told["observation"], "built without a browser" in told["content"]) == ("error", True)
            edited = running.action("edit", path="/tmp/a", command="create", file_text="x\n", impl_source="oh_aci")
            assert edited["observation"] == "edit", edited
        server = ("/openhands/bin/oh-action-execution-server", "8000", "--plugins", "agent_skills", "jupyter")
        words = [str(engine.docker), "run", "--rm", image, *server]
        done = subprocess.run(words, env=engine.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "plug-in 'jupyter' is not in this image (available: agent_skills" in done.stderr
    finally:
        docker(engine, "image", "rm", "--force", image, check=False)


_EXTRA = f"""\
wheel=$("$OH_INTERPRETER_PATH" - <<'PYTHON'
{probes.WHEEL}
PYTHON
)
$OH_INTERPRETER_PATH -m pip install --quiet --no-index "$wheel"
rm "$wheel"
echo "$(id -u) 'a' \\"b\\" \\\\ ${{HOME}} $((6*7))" >/made
[[ -n $BASH_VERSION ]] && echo ünïcode >>/made
"""


@pytest.fixture(scope="module")
def base(engine: Connection, place: str) -> str:
    """A base without bash, whose user has no passwd entry."""
    name = f"{place}/nonroot:1"
    words = ["buildx", "build", "--quiet", "--provenance=false", "--platform=linux/amd64", "--tag", name, "-"]
    subprocess.run(
        [str(engine.docker), *words, "--output=type=registry,store=false"],
        env={**os.environ, **engine.environment()},
        input="FROM alpine:3.23\nUSER 1234:1234\nWORKDIR /w\n", text=True, check=True,
    )  # fmt: skip
    return name


def test_extra_deps_are_run_last_as_root_and_serve_every_user(
    engine: Connection, ohbuild: Command, place: str, base: str
) -> None:
    plain = ohbuild.bake(base, f"{place}/runtime", "--component", "python")
    made = ohbuild.bake(base, f"{place}/runtime", "--component", "python", "--extra-deps", _EXTRA)
    assert not {*made["tags"]} & {*plain["tags"]}
    image = made["tags"][-1]
    try:
        script = (
            "id -u; pwd; cat /made; env; ls -a /run /tmp; oh-python -c 'import ohbuild_verify as v; print(v.ANSWER)'"
        )
        said = docker(engine, "run", "--rm", "--network=none", image, "/bin/sh", "-c", script)
        assert said.startswith("1234\n/w\n0 'a' \"b\" \\ /root 42\nünïcode\n")
        assert "six by nine" in said
        assert not [
            word for word in ("OH_INTERPRETER_PATH", "PIP_", "ohbuild-", "ca.crt", "/run/ohbuild") if word in said
        ]
        config = json.loads(docker(engine, "image", "inspect", image))[0]["Config"]
        assert config["User"] == "1234:1234"
        assert len(config["Labels"]["dev.ohbuild.extra-deps"]) == 64
    finally:
        docker(engine, "image", "rm", "--force", image, check=False)
    # the layers below are the same as without extra commands
    with closing(Registry(Registries().with_mirror(place.partition("/")[0]))) as registry:
        layers, below = (registry.layers(ImageRef.parse(item["tags"][-1]), AMD64) for item in (made, plain))
    assert layers[:-1] == below


def test_extra_deps_that_fail_are_told_with_what_they_said(ohbuild: Command, place: str, base: str) -> None:
    words = ("--platform", "linux/amd64", "--image", f"{place}/runtime", "--folder", "out", "--component", "python")
    data = ohbuild("bake", base, *words, "--extra-deps", "echo before\nnosuchcommand --x\necho after", code=1)
    error = data["targets"][1]["error"]
    log = "\n".join(error["log"])
    assert "before" in log
    assert "commands: line 2: nosuchcommand: command not found" in log
    assert "after" not in log
    assert "exit code: 127" in error["message"]


@pytest.mark.parametrize("more", [{}, {"system_packages": ["tree"]}], ids=["plain", "system-packages"])
def test_a_folder_that_stands_alone_makes_the_same_layers(
    engine: Connection, place: str, tmp_path: Path, more: dict[str, Any]
) -> None:
    fakes = fake_components(tmp_path / "fakes", seed=place)
    values: dict[str, Any] = {
        "bases": ["debian:trixie"], "platforms": "linux/amd64", "image": f"{place}/alone/runtime",
        "folder": tmp_path / "out", **more,
    }  # fmt: skip
    job = prepare(Settings(**values), known=fakes, connect=lambda: engine)
    result = job.run(lambda event: None)[-1]
    job = prepare(Settings(**values), known=fakes, connect=lambda: engine)
    assert not job.plan.missing
    write_folder(standalone(job.plan, job.plan.runtimes[0]), tmp_path / "alone", job.plan.source_date_epoch)
    tag = f"{place}/alone/runtime:alone"
    words = ["buildx", "build", "--progress=plain", "--provenance=false", "--output=type=registry,store=false"]
    done = subprocess.run(
        [str(engine.docker), *words, "--tag", tag, str(tmp_path / "alone")],
        env={**os.environ, **engine.environment()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # every step was cached
    steps = {line.split()[0] for line in done.stderr.splitlines() if "] RUN" in line or "] COPY" in line}
    cached = {line.split()[0] for line in done.stderr.splitlines() if line.endswith("CACHED")}
    assert steps, done.stderr
    assert steps <= cached, done.stderr
    with closing(Registry(Registries().with_mirror(place.partition("/")[0]))) as registry:
        alone, theirs = registry.inspect(ImageRef.parse(tag)), registry.inspect(ImageRef.parse(result.tags[-1]))
        layers = [registry.layers(ImageRef.parse(item), AMD64) for item in (tag, result.tags[-1])]
    assert layers[0] == layers[1]
    assert alone.labels == theirs.labels
    assert alone.env == theirs.env
