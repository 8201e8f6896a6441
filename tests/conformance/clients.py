"""Runs in a container: the unchanged ``openhands-workspace`` and ``openhands-sdk`` against images of ohbuild.

The last line of the output is the result as JSON. ``agent_server.py`` calls these functions.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_ports

PROBES = "/checkout/ohbuild/verify/probes"
PORT, PAGE_PORT = 8766, 8765
PAGE = "<title>drawn</title><h1>A page with ink</h1>"


def docker(*words: str) -> str:
    """Runs a docker command and returns its output."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def versions() -> dict[str, str]:
    """Returns where the packages come from, which must not be the image's own adapted ones."""
    import openhands.sdk
    import openhands.workspace

    return {module.__name__: str(module.__file__) for module in (openhands.sdk, openhands.workspace)}


def docker_workspace(image: str) -> dict[str, Any]:
    """Uses everything that DockerWorkspace offers, then has a conversation."""
    from openhands.workspace import DockerWorkspace

    options = {"server_image": image, "working_dir": "/workspace/project", "extra_ports": True}
    # DockerWorkspace takes the next two as well, of which it looks for none.
    with DockerWorkspace(**options, host_port=free_ports(3)) as workspace:
        found: dict[str, Any] = {"files": _files(workspace), "git": _git(workspace), "vscode": _vscode(workspace)}
        info = workspace.client.get("/server_info").json()
        found["server"] = {name: info.get(name) for name in ("version", "sdk_version", "usable_tools")}
        _paused(workspace)
        workspace.resume()
        found["resumed"] = workspace.execute_command("echo back").stdout.strip()
        found["conversation"] = _conversation(workspace)
        return found


def _paused(workspace: Any) -> None:
    """Pauses a workspace. With cgroups v1, runc gives up on a container whose processes wait for a busy disk."""
    for _ in range(20):
        try:
            workspace.pause()
            return
        except RuntimeError as error:
            if "unable to freeze" not in str(error):
                raise
            time.sleep(1)
    workspace.pause()


def _files(workspace: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        here, back = Path(folder, "here"), Path(folder, "back")
        here.write_text("up → 世界\n")
        assert workspace.file_upload(here, "/workspace/project/there").success
        result = workspace.execute_command("cat there; echo down >> there; id -u", cwd="/workspace/project")
        assert result.exit_code == 0, result
        assert workspace.file_download("/workspace/project/there", back).success
        assert result.stdout.startswith("up → 世界\n"), result
        return back.read_text()


def _git(workspace: Any) -> dict[str, Any]:
    commit = "git -c user.name=a -c user.email=a@b commit -q -m one"
    # A clone, because without a remote 1.34.0 compares with an empty tree.
    done = workspace.execute_command(
        f"git init -q -b main origin && cd origin && echo one > file && git add file && {commit} && "
        "git bundle create -q ../bundle HEAD main && git clone -q ../bundle ../repo && echo two > ../repo/file",
        cwd="/workspace/project",
    )
    assert done.exit_code == 0, done
    changes = workspace.git_changes("/workspace/project/repo")
    diff = workspace.git_diff("/workspace/project/repo/file")
    return {
        "changes": [(change.status.name, str(change.path)) for change in changes],
        "diff": [(diff.original or "").strip(), (diff.modified or "").strip()],
    }


def _vscode(workspace: Any) -> list[int]:
    """Returns the status of VS Code with its token and without one."""
    base = f"http://127.0.0.1:{workspace.host_port + 1}"
    url = workspace.client.get("/api/vscode/url", params={"base_url": base}).json()["url"]
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        with_token = browser.get(url).status_code
    return [with_token, httpx.get(f"{base}/", timeout=60).status_code]


def _conversation(workspace: Any) -> dict[str, Any]:
    """Has a conversation with a model in the container that uses the tools, and returns what they showed."""
    from openhands.sdk import LLM, Agent, Conversation, Tool
    from openhands.tools.browser_use import BrowserToolSet
    from openhands.tools.file_editor import FileEditorTool
    from openhands.tools.terminal import TerminalTool

    for probe, words in (("model", f"{PORT}"), ("serve", f"{PAGE_PORT} '{PAGE}'")):
        workspace.file_upload(f"{PROBES}/{probe}.py", f"/tmp/{probe}.py")
        workspace.execute_command(f"/openhands/bin/oh-python /tmp/{probe}.py {words} > /dev/null 2>&1 &", timeout=5)
    tools = [Tool(name=tool.name) for tool in (TerminalTool, FileEditorTool, BrowserToolSet)]
    llm = LLM(model="openai/ohbuild", base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none", usage_id="test")
    events: list[Any] = []
    conversation = Conversation(agent=Agent(llm=llm, tools=tools), workspace=workspace, callbacks=[events.append])
    path = "/workspace/project/edited"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("terminal", {"command": "echo Grüße; pwd"}),
        ("file_editor", {"command": "create", "path": path, "file_text": "one\n"}),
        ("file_editor", {"command": "str_replace", "path": path, "old_str": "one", "new_str": "two"}),
        ("browser_navigate", {"url": f"http://127.0.0.1:{PAGE_PORT}/"}),
        ("browser_get_content", {}),
        ("browser_get_state", {"include_screenshot": True}),
    ]
    try:
        for tool, arguments in calls:
            conversation.send_message(json.dumps({"tool": tool, "arguments": arguments}))
            conversation.run()
        seen = [event for event in conversation.state.events if type(event).__name__ == "ObservationEvent"]
        shown = [event.observation for event in seen if event.tool_name != "finish"]
        found = {
            "status": conversation.state.execution_status.value,
            "tools": [event.tool_name for event in seen if event.tool_name != "finish"],
            "errors": [str(observation) for observation in shown if observation.is_error],
            "texts": ["".join(getattr(part, "text", "") for part in observation.content) for observation in shown],
            "edited": workspace.execute_command(f"cat {path}").stdout,
            "ink": _ink(shown[-1].screenshot_data),
        }
    finally:
        conversation.close()
    return found


def _ink(image: str) -> float:
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(image))).convert("L")
    pixels = Counter(picture.tobytes())
    return 1 - pixels.most_common(1)[0][1] / (picture.width * picture.height)


def api_workspace(image: str, target: str) -> dict[str, Any]:
    """Uses APIRemoteWorkspace against a stub of the runtime API, which starts a container as that one does."""
    from openhands.workspace import APIRemoteWorkspace

    containers: list[str] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            if self.path == "/start":
                # The runtime API puts a command in place of the entry point, as Kubernetes' `command` does.
                first, *others = asked["command"].split()
                user = f"{asked['run_as_user']}:{asked['fs_group']}"
                options = ["--workdir", asked["working_dir"], "--user", user, "--env", "OH_SESSION_API_KEYS_0=key"]
                words = ["run", "--detach", "--publish", "127.0.0.1::60000", *options, "--entrypoint", first]
                containers.append(docker(*words, asked["image"], *others))
            address = docker("port", containers[0], "60000").splitlines()[0]
            self._answer({"runtime_id": "1", "url": f"http://{address}", "session_api_key": "key"})

        def do_GET(self) -> None:
            if containers:
                self._answer({"pod_status": "ready", "status": "running"})
            else:
                self.send_error(404)

        def _answer(self, body: dict[str, str]) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    try:
        with APIRemoteWorkspace(
            runtime_api_url=f"http://127.0.0.1:{api.server_port}", runtime_api_key="x", server_image=image,
            target_type=target, working_dir="/workspace/project",
        ) as workspace:  # fmt: skip
            result = workspace.execute_command("id -u; readlink /proc/1/exe; pwd", cwd="/workspace/project")
            return {"code": result.exit_code, "lines": result.stdout.split()}
    finally:
        for container in containers:
            with suppress(subprocess.CalledProcessError):
                docker("rm", "--force", container)


def with_limit(limit: str) -> None:
    """Lowers the limit of open files that DockerWorkspace asks for, where the machine does not allow as many."""
    shim = Path("/tmp/shim/docker")
    shim.parent.mkdir()
    shim.write_text(
        "#!/openhands/bin/oh-python\nimport os, sys\n"
        f"words = [word.replace('nofile=65536:65536', 'nofile={limit}') for word in sys.argv[1:]]\n"
        "os.execv('/usr/local/bin/docker', ['docker', *words])\n"
    )
    shim.chmod(0o755)
    os.environ["PATH"] = f"{shim.parent}:{os.environ['PATH']}"


if __name__ == "__main__":
    os.environ["OPENHANDS_SUPPRESS_BANNER"] = "1"
    if os.environ.get("OHBUILD_TEST_NOFILE"):
        with_limit(os.environ["OHBUILD_TEST_NOFILE"])
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
