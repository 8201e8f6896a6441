"""Runs in the container with OpenHands from PyPI, and calls functions of this module, each in a process of its own.

A request is a line of JSON with the name of the function and its arguments, and so is the answer. The processes are
forked, because importing OpenHands takes ten times as long as most functions.

Modules of OpenHands are imported by name, because the machine that checks the types does not have them.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = ["/site", "/checkout"]

from ohbuild import runtime_build as ours
from ohbuild.builders import DockerBuilder
from ohbuild.builders import RuntimeBuilder as OurBuilder
from ohbuild.components.openhands import source_hash
from ohbuild.config.sandbox import SandboxConfig
from ohbuild.docker.connection import Connection
from ohbuild.errors import OhbuildError
from ohbuild.openhands.build import resolve_runtime_image


def theirs() -> Any:
    """Returns OpenHands' own module from PyPI, and asserts that it is not the one in our image."""
    module = import_module("openhands.runtime.utils.runtime_build")
    assert str(module.__file__).startswith("/site/"), module.__file__
    return module


def release() -> dict[str, Any]:
    """Returns OpenHands' version and the hash of its source."""
    version = import_module("openhands.version").get_version()
    return {"version": version, "source_hash": source_hash(Path(import_module("openhands").__file__ or "").parent)}


def tags(bases: list[str]) -> dict[str, Any]:
    """Returns by base what each function returns, theirs and ours, or the name of the exception if it crashes."""

    def asked(function: Any, base: str) -> Any:
        try:
            return function(base)
        except Exception as error:
            return type(error).__name__

    names = ("get_runtime_image_repo_and_tag", "get_tag_for_versioned_image")
    return {
        base: {name: [asked(getattr(module, name), base) for module in (theirs(), ours)] for name in names}
        for base in bases
    }


def hashes(values: list[str]) -> list[list[str]]:
    """Returns the truncated hash of each value, theirs and ours."""
    return [[module.truncate_hash(value) for module in (theirs(), ours)] for value in values]


def signatures() -> dict[str, list[list[str]]]:
    """Returns by function the names of its parameters in order, theirs and ours."""

    def names(function: Any) -> list[str]:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
        return [name for name, item in inspect.signature(function).parameters.items() if item.kind in kinds]

    their_builder = import_module("openhands.runtime.builder").RuntimeBuilder
    pairs = {
        "build_runtime_image": (theirs().build_runtime_image, ours.build_runtime_image),
        "prep_build_folder": (theirs().prep_build_folder, ours.prep_build_folder),
        "build": (their_builder.build, OurBuilder.build),
        "image_exists": (their_builder.image_exists, OurBuilder.image_exists),
    }
    return {name: [names(function) for function in pair] for name, pair in pairs.items()}


def keys() -> dict[str, list[str]]:
    """Returns the keys of OpenHands' configuration tables."""
    config = import_module("openhands.core.config")
    return {
        "core": list(config.OpenHandsConfig.model_fields),
        "sandbox": list(config.SandboxConfig.model_fields),
    }


def config(text: str) -> dict[str, Any]:
    """Returns a config.toml as read by OpenHands and by us, and the runtime image that each would build."""
    path = Path("/tmp/config.toml")
    path.write_text(text)
    module = import_module("openhands.core.config")
    loaded = module.OpenHandsConfig()
    module.load_from_toml(loaded, str(path))
    read = [SandboxConfig.from_toml(path), SandboxConfig.from_openhands(loaded)]
    plugins = import_module("openhands.runtime.plugins")
    required = SandboxConfig.from_openhands(
        loaded, plugins=[plugins.AgentSkillsRequirement(), plugins.JupyterRequirement()]
    )
    return {
        "default": SandboxConfig.from_openhands(module.OpenHandsConfig()).model_dump(),
        "own_default": SandboxConfig().model_dump(),
        "read": [item.model_dump() for item in read],
        "names": [resolve_runtime_image(item) for item in read],
        "plugins": required.plugins,
    }


def facts(bases: list[str], values: list[str], text: str) -> dict[str, Any]:
    """Returns everything that needs no build, with one start of OpenHands instead of many that take seconds each."""
    return {
        "release": release(),
        "signatures": signatures(),
        "tags": tags(bases),
        "hashes": hashes(values),
        "keys": keys(),
        "config": config(text),
    }


def command_line(base: str) -> dict[str, str]:
    """Returns the config.sh that ``--build_folder`` writes, by OpenHands' own command and by ours.

    It uses OpenHands' default repository, because its command crashes on one with a port.
    """
    written = {}
    for module in ("openhands.runtime.utils.runtime_build", "ohbuild.runtime_build"):
        folder = Path("/tmp") / module
        folder.mkdir()
        (folder / "config.sh").write_text("DOCKER_BASE_DIR=x")
        start = f"import runpy, sys; sys.path[:0] = {sys.path[:2]!r}; sys.argv = sys.argv[1:]"
        run = f"runpy.run_module({module!r}, run_name='__main__')"
        words = ["--base_image", base, "--build_folder", str(folder), "--no_enable_browser", "--force_rebuild"]
        subprocess.run([sys.executable, "-c", f"{start}; {run}", module, *words], check=True)
        assert (folder / "Dockerfile").is_file()
        written[module.partition(".")[0]] = (folder / "config.sh").read_text()
    return written


class Recorder:
    """Forwards every call to a builder unchanged, and records it."""

    def __init__(self, builder: OurBuilder) -> None:
        self._builder = builder
        self.calls: list[Any] = []

    def _record(self, name: str, *words: Any, **named: Any) -> Any:
        answer = getattr(self._builder, name)(*words, **named)
        self.calls.append([name, list(words), dict(named), answer])
        return answer

    def build(self, *words: Any, **named: Any) -> Any:
        """Forwards ``build``."""
        return self._record("build", *words, **named)

    def image_exists(self, *words: Any, **named: Any) -> Any:
        """Forwards ``image_exists``."""
        return self._record("image_exists", *words, **named)


def build(registry: str, repository: str, base: str, times: int = 1, **options: Any) -> dict[str, Any]:
    """Calls OpenHands' own ``build_runtime_image`` with ohbuild's ``DockerBuilder``, one or more times."""
    os.environ["OH_RUNTIME_RUNTIME_IMAGE_REPO"] = repository
    kind = import_module("openhands.core.exceptions").AgentRuntimeBuildError
    runs = []
    with DockerBuilder(push=True, load=False, connect=lambda: _engine(registry)) as builder:
        for _ in range(times):
            recorder, start = Recorder(builder), time.monotonic()
            run: dict[str, Any] = {"calls": recorder.calls}
            try:
                run["name"] = theirs().build_runtime_image(base, recorder, **options)
            except kind as error:
                # It was caught as their exception, but it must also be ours.
                run |= {"error": str(error), "ours": isinstance(error, OhbuildError)}
                run["category"] = getattr(error, "category", "")
            runs.append(run | {"seconds": time.monotonic() - start})
    return {"runs": runs}


def refused(registry: str, repository: str, base: str) -> dict[str, Any]:
    """Does the same as ``build`` with a buildx builder that does not exist."""
    os.environ["OH_RUNTIME_RUNTIME_IMAGE_REPO"] = repository
    kind = import_module("openhands.core.exceptions").AgentRuntimeBuildError
    builder = DockerBuilder(builder="no-such-builder", push=True, load=False, connect=lambda: _engine(registry))
    try:
        theirs().build_runtime_image(base, builder)
    except kind as error:
        return {"error": str(error), "ours": isinstance(error, OhbuildError), "category": error.category}
    return {}


def force(registry: str, repository: str, base: str) -> dict[str, Any]:
    """Calls our ``build_runtime_image`` three times: without force, with it, and without it again."""
    os.environ["OH_RUNTIME_RUNTIME_IMAGE_REPO"] = repository
    with DockerBuilder(push=True, load=False, connect=lambda: _engine(registry)) as builder:
        recorder = Recorder(builder)
        names = [
            ours.build_runtime_image(
                base, recorder, force_rebuild=forced, enable_browser=False, connect=lambda: _engine(registry)
            )
            for forced in (False, True, False)
        ]
    return {"names": names, "calls": recorder.calls}


def their_builder(registry: str, repository: str, base: str) -> dict[str, Any]:
    """Calls our ``build_runtime_image`` twice with OpenHands' own ``DockerRuntimeBuilder``."""
    os.environ["OH_RUNTIME_RUNTIME_IMAGE_REPO"] = repository
    builder = import_module("openhands.runtime.builder").DockerRuntimeBuilder(import_module("docker").from_env())
    options: dict[str, Any] = {
        "plugins": ["agent_skills"],
        "enable_browser": False,
        "connect": lambda: _engine(registry),
    }
    return {"names": [ours.build_runtime_image(base, builder, **options) for _ in range(2)]}


def _engine(registry: str) -> Connection:
    """Returns a connection to the Docker client's engine. Its registry is a mirror of Docker Hub, as on the host."""
    folder = Path(os.environ["DOCKER_CONFIG"])
    if not registry:
        return Connection(
            docker=Path("/usr/local/bin/docker"), host=None, config_dir=None, registry=None, origin="system"
        )
    return Connection(
        docker=Path("/usr/local/bin/docker"),
        host=os.environ["DOCKER_HOST"],
        config_dir=folder,
        registry=registry,
        origin="ohbuild",
    )


def call(name: str, arguments: dict[str, Any]) -> Any:
    """Calls a function with those of the arguments that it takes."""
    function = globals()[name]
    taken = inspect.signature(function).parameters
    everything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    return function(**{key: value for key, value in arguments.items() if key in taken or everything})


def main() -> None:
    """Answers requests until the input ends."""
    theirs()
    for module in ("openhands.core.exceptions", "openhands.runtime.builder"):
        import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what functions and their programs print is no answer
    for line in sys.stdin:
        if child := os.fork():
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status:
                answers.write(json.dumps({"error": f"exit code {status}"}) + "\n")
                answers.flush()
            continue
        answers.write(json.dumps({"result": call(*json.loads(line))}) + "\n")
        answers.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
