"""``openhands-workspace`` and ``openhands-sdk`` from PyPI accept ohbuild's images, on any base and in both versions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ohbuild.components.builtin import BUILTIN
from ohbuild.docker.connection import Connection
from ohbuild.verify.clients import request
from tests.conformance.agent_server import Clients, install
from tests.engine.baked import ROOT, bake
from tests.engine.bases import ensure
from tests.engine.runtime import docker

BASES = ("debian:trixie", "files-only", "alpine-user")
OLDER = "1.34.0"
TOOLS = ["terminal", "file_editor", "file_editor", "browser_navigate", "browser_get_content", "browser_get_state"]


@pytest.fixture(scope="module")
def images(engine: Connection, own_registry: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An image for each base."""
    references = {base: ensure(engine, base) for base in BASES}
    words = ("--platform", "linux/amd64", "--image", f"{own_registry}/conformance/runtime", "--cache-to", "off")
    made = bake(engine, *references.values(), *words, folder=tmp_path_factory.mktemp("bases"))
    return {base: made.image(reference) for base, reference in references.items()}


@pytest.fixture(scope="module")
def older(engine: Connection, own_registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with the older agent-server. Its clients run in it too, with a Docker client that needs glibc."""
    words = ("--platform", "linux/amd64", "--image", f"{own_registry}/conformance/runtime", "--cache-to", "off")
    folder = tmp_path_factory.mktemp("older")
    made = bake(engine, "debian:trixie", *words, "--agent-server-version", OLDER, folder=folder)
    return made.image("debian:trixie")


@pytest.fixture(scope="module")
def version() -> str:
    return next(item.version for item in BUILTIN if item.name == "agent-server")


@pytest.fixture(scope="module")
def clients(engine: Connection, images: dict[str, str], version: str) -> Clients:
    return Clients(engine, images["debian:trixie"], install(version, ROOT / ".tools/conformance"))


@pytest.fixture(autouse=True, scope="module")
def removed(engine: Connection, images: dict[str, str], older: str) -> Iterator[None]:
    yield
    docker(engine, "image", "rm", "--force", *images.values(), older, check=False)


def check_workspace(found: dict[str, Any], version: str) -> None:
    assert found["files"] == "up → 世界\ndown\n"
    assert found["git"] == {"changes": [["UPDATED", "file"]], "diff": ["one", "two"]}
    assert found["vscode"] == [200, 403]
    assert found["server"]["version"] == version
    assert {"terminal", "file_editor", "browser_tool_set"} <= set(found["server"]["usable_tools"] or TOOLS) or (
        found["server"]["usable_tools"] is None
    )
    assert found["resumed"] == "back"
    talk = found["conversation"]
    assert (talk["status"], talk["tools"], talk["errors"]) == ("finished", TOOLS, [])
    assert "Grüße\n/workspace/project" in talk["texts"][0]
    assert "A page with ink" in talk["texts"][4]
    assert talk["edited"] == "two\n"
    assert 0.001 < talk["ink"] < 0.5


def test_the_clients_are_the_unchanged_ones(clients: Clients) -> None:
    assert all(path.startswith("/site/") for path in clients("versions").values())


@pytest.mark.parametrize("base", BASES)
def test_docker_workspace(clients: Clients, images: dict[str, str], version: str, base: str) -> None:
    check_workspace(clients("docker_workspace", image=images[base]), version)


def test_docker_workspace_of_the_older_version(engine: Connection, older: str) -> None:
    clients = Clients(engine, older, install(OLDER, ROOT / ".tools/conformance"))
    check_workspace(clients("docker_workspace", image=older), OLDER)


@pytest.mark.parametrize("which", ["newest", "older"])
def test_nothing_that_the_server_uses_is_left_out(
    engine: Connection, images: dict[str, str], older: str, which: str
) -> None:
    image = images["debian:trixie"] if which == "newest" else older
    words = ["/openhands/agent-server/bin/python3.13", "-EP", "/checkout/imports.py"]
    mount = f"--volume={ROOT / 'tests/conformance'}:/checkout:ro"
    found = json.loads(docker(engine, "run", "--rm", "--no-healthcheck", mount, image, *words).splitlines()[-1])
    assert found["missing"] == {}
    assert found["modules"] > 400


@pytest.mark.parametrize(("base", "target"), [("debian:trixie", "binary"), ("files-only", "source")])
def test_api_remote_workspace(clients: Clients, images: dict[str, str], base: str, target: str) -> None:
    found = clients("api_workspace", image=images[base], target=target)
    assert found == {"code": 0, "lines": ["10001", "/openhands/libexec/tini", "/workspace/project"]}


def test_the_command_of_the_app(engine: Connection, images: dict[str, str]) -> None:
    """As ``openhands-ai`` 1.11 starts a sandbox: only a port, Docker's init, its variables and working folder."""
    variables = {
        "OH_SESSION_API_KEYS_0": "key", "OH_WEBHOOKS_0_BASE_URL": "http://127.0.0.1:1/webhooks",
        "OH_CONVERSATIONS_PATH": "/workspace/conversations", "OH_BASH_EVENTS_DIR": "/workspace/bash_events",
        "OPENVSCODE_SERVER_ROOT": "/openhands/.openvscode-server", "AGENT_SERVER": "8000", "VSCODE": "8001",
        "WORKER_1": "8011", "WORKER_2": "8012", "OH_ALLOW_CORS_ORIGINS_0": "http://localhost:3000",
    }  # fmt: skip
    options = [word for item in variables.items() for word in ("--env", "=".join(item))]
    container = docker(
        engine, "run", "--detach", "--init", "--workdir", "/workspace/project", "--publish", "127.0.0.1::8000",
        *options, images["debian:trixie"], "--port", "8000",
    ).strip()  # fmt: skip
    try:
        address = docker(engine, "port", container, "8000").split()[0]
        deadline = time.monotonic() + 120
        while True:
            try:
                assert request("GET", f"http://{address}/health", timeout=5).status_code == 200
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, docker(engine, "logs", container)
                time.sleep(0.5)
        answer = request("POST",
            f"http://{address}/api/bash/execute_bash_command", json={"command": "pwd; ls -d /workspace/*"},
            headers={"X-Session-API-Key": "key"}, timeout=60,
        ).json()  # fmt: skip
        assert "/workspace/bash_events" in answer["stdout"].split()
        assert answer["stdout"].startswith("/workspace/project\n")
        health = ("/openhands/agent-server/libexec/health",)
        docker(engine, "exec", container, *health)
    finally:
        docker(engine, "rm", "--force", container)


def test_the_image_says_how_it_is_started(engine: Connection, images: dict[str, str]) -> None:
    docker(engine, "pull", "--quiet", images["debian:trixie"])
    config = json.loads(docker(engine, "image", "inspect", images["debian:trixie"]))[0]["Config"]
    assert config["Entrypoint"] == ["/openhands/bin/oh-agent-server"]
    assert config["WorkingDir"] == "/"
    assert set(config["ExposedPorts"]) == {"8000/tcp", "8001/tcp"}
    assert config["Healthcheck"]["Test"] == ["CMD", "/openhands/agent-server/libexec/health"]
    assert config["Labels"]["dev.ohbuild.servers"] == "agent-server"
