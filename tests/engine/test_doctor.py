"""``oh-doctor`` in real containers: all parts work; or one does not, and it says which and why."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ohbuild.docker.connection import Connection
from ohbuild.images.labels import component_names
from tests.engine.baked import Baked
from tests.engine.bases import registry_of
from tests.engine.broken import LIBRARY, broken
from tests.engine.runtime import docker, started

# A busy machine needs more than the 20 s of the default.
DOCTOR = ("oh-doctor", "--json", "--seconds", "180")


def doctor(engine: Connection, *words: str) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Runs a command of Docker that runs ``oh-doctor``. Returns whether all parts work, and the parts by name."""
    command = [str(engine.docker), *words]
    done = subprocess.run(command, env=engine.environment(), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] == (done.returncode == 0)
    return found["ok"], {part["name"]: part for part in found["parts"]}


def failed(parts: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    return {name: [*part["problems"], *part["log"]] for name, part in parts.items() if part["state"] == "failed"}


@pytest.mark.parametrize("server", ["agent-server", "action-execution-server"])
def test_all_parts_of_an_image_work(engine: Connection, baked: Baked, baked_v0: Baked, server: str) -> None:
    image = (baked if server == "agent-server" else baked_v0).image("alpine:3.23")
    docker(engine, "pull", "--quiet", image)
    labels = json.loads(docker(engine, "image", "inspect", "--format", "{{json .Config.Labels}}", image))
    components = set(component_names(labels))
    ok, parts = doctor(engine, "run", "--rm", image, *DOCTOR)
    assert ok, failed(parts)
    assert parts.keys() == components | {"container", "shell", f"{server} starts"}
    assert parts["shell"]["remarks"][0].startswith("/openhands/bin/bash, after ")
    assert parts[f"{server} starts"]["remarks"][0].startswith("answers ")


def test_a_part_that_does_not_work_is_named_and_the_others_are_examined(
    engine: Connection, baked: Baked, tmp_path: Path
) -> None:
    """Without a library of tmux, which the agent's shell needs too."""
    with broken(engine, baked.image("alpine:3.23"), f"{registry_of(engine)}/doctor/tmux", tmp_path, LIBRARY) as image:
        ok, parts = doctor(engine, "run", "--rm", image, *DOCTOR)
    assert not ok
    assert {"tmux", "shell"} <= failed(parts).keys() <= {"tmux", "shell", "agent-server starts"}
    assert any(LIBRARY.rpartition("/")[2] in line for line in failed(parts)["tmux"])


def test_a_server_that_is_running_is_asked_and_not_started_again(engine: Connection, baked: Baked) -> None:
    with started(engine, baked.image("alpine:3.23"), command=("--host", "0.0.0.0")) as server:
        ok, parts = doctor(engine, "exec", server.container, *DOCTOR, "container", "agent-server starts")
    assert ok, failed(parts)
    assert parts["agent-server starts"]["remarks"] == ["is running, and answers on port 8000"]


def test_a_container_in_which_nothing_can_be_written(engine: Connection, baked: Baked) -> None:
    ok, parts = doctor(engine, "run", "--rm", "--read-only", "--memory", "600m", baked.image("alpine:3.23"), *DOCTOR,
                       "container")  # fmt: skip
    assert ok, "/dev/shm is writable"
    told = parts["container"]["remarks"]
    assert "/tmp is not writable; our programs use /dev/shm" in told
    assert [line for line in told if line.startswith("the container may use 629 MB")]
