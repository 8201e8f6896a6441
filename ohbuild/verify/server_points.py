"""The points of the contract that depend on the server: its tools, its key, and what it starts beside itself."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import httpx

from ohbuild.components.choice import ACTION_EXECUTION_SERVER, AGENT_SERVER
from ohbuild.docker.client import CommandFailed
from ohbuild.verify import probes
from ohbuild.verify.clients import ActionExecutionServer, AgentServer, request, text_of
from ohbuild.verify.container import BUSYBOX, Running
from ohbuild.verify.point import Point, Skip, components_of, one_line

_OURS = "/openhands/"


def _v0(running: Running) -> ActionExecutionServer:
    assert isinstance(running.client, ActionExecutionServer)
    return running.client


def _v1(running: Running) -> AgentServer:
    assert isinstance(running.client, AgentServer)
    return running.client


def ipython(running: Running) -> Iterator[str]:
    """Checks that IPython runs in our Python."""
    content = _v0(running).action("run_ipython", code="import sys; print(6*7, sys.executable)")["content"]
    if "42" not in content:
        yield f"IPython evaluates 6*7 to {one_line(content)!r}"
    elif _OURS not in content:
        yield f"IPython runs in {one_line(content)!r}, not below {_OURS}"


_PAGE_PORT = 8765
_PAGE = "<title>ohbuild</title><h1>A page on loopback</h1><p>drawn by the <b>chromium</b> component</p>"


def browse(running: Running) -> Iterator[str]:
    """Checks that Chromium loads a page and renders its text."""
    running.serve(probes.SERVE, _PAGE_PORT, _PAGE)
    url = f"http://127.0.0.1:{_PAGE_PORT}/"
    text, image = _seen_by_agent(running, url) if isinstance(running.client, AgentServer) else _seen(running, url)
    if "A page on loopback" not in text:
        yield f"the text of the page is {one_line(text)!r}"
    if not base64.b64decode(image).startswith(b"\x89PNG"):
        yield "the screenshot is not a PNG"
        return
    ink = float(running.exec(running.client.python, "-EPc", probes.INK, stdin=image))
    if not 0.001 < ink < 0.5:
        yield f"the page is not rendered: {ink:.2%} of the screenshot's pixels differ from the background"


def _seen(running: Running, url: str) -> tuple[str, str]:
    if "playwright" not in components_of(running.image):
        raise Skip("the image has no playwright")
    observation = _v0(running).action("browse", url=url, return_axtree=False)
    extras = observation.get("extras", {})
    if extras.get("error"):
        reason = one_line(extras.get("last_browser_action_error") or observation["content"])
        raise CommandFailed(f"Chromium: {reason}")
    return str(observation["content"]), str(extras.get("screenshot", "")).partition("base64,")[2]


def _seen_by_agent(running: Running, url: str) -> tuple[str, str]:
    server = _v1(running)
    server.tool("browser_navigate", url=url)
    text = text_of(server.tool("browser_get_content"))
    state = server.tool("browser_get_state", include_screenshot=True)
    return text, str(state.get("screenshot_data") or "")


def vscode(running: Running) -> Iterator[str]:
    """Checks that VS Code accepts only requests with its token."""
    token = _token(running)
    if not token:
        reason = running.client.get("/server_info").json().get("failed_parts", {}).get("vscode", "it was not started")
        yield f"the connection token is missing: VS Code does not work: {one_line(reason)}"
        return
    deadline = time.monotonic() + 60 * running.factor  # the server does not wait for VS Code to start
    while True:
        try:
            page = _page(running, f"?tkn={token}", follow=True)
            break
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                raise CommandFailed(f"VS Code does not respond: {error}") from error
            time.sleep(0.5)
    if page.status_code != 200 or "vscode" not in page.text.lower():
        yield f"VS Code returns {page.status_code} with its token: {one_line(page.text)}"
    for query in ("", "?tkn=wrong"):
        code = _page(running, query).status_code
        if code != 403:
            yield f"VS Code returns {code} {'without a token' if not query else 'with a wrong token'}, not 403"


def _token(running: Running) -> str:
    if not isinstance(running.client, AgentServer):
        return str(running.client.get("/vscode/connection_token").json()["token"])
    url = running.client.get("/api/vscode/url", base_url=running.vscode).json()["url"] or ""
    return str(httpx.URL(url).params.get("tkn", ""))


def _page(running: Running, query: str, *, follow: bool = False) -> httpx.Response:
    seconds = 60 * running.factor
    return request("GET", f"{running.vscode}/{query}", follow_redirects=follow, timeout=seconds)


def key(running: Running) -> Iterator[str]:
    """Checks that the agent-server answers requests only with its session key."""
    path = "/api/conversations/search"
    for headers, wanted in (({}, 401), ({"X-Session-API-Key": "wrong"}, 401), (running.client.headers, 200)):
        answer = request("GET", running.client.url + path, headers=headers, timeout=30 * running.factor)
        if answer.status_code != wanted:
            what = "with its key" if wanted == 200 else "with a wrong key" if headers else "without a key"
            yield f"{path} returns {answer.status_code} {what}, not {wanted}"


def editor(running: Running) -> Iterator[str]:
    """Checks that the agent's editor creates and changes a file that its shell can read."""
    path = running.shell(f"{BUSYBOX} mktemp -d").strip().splitlines()[-1] + "/ohbuild.txt"
    server = _v1(running)
    server.tool("file_editor", command="create", path=path, file_text="one\nthree\n")
    server.tool("file_editor", command="insert", path=path, insert_line=1, new_str="two → 世界")
    server.tool("file_editor", command="str_replace", path=path, old_str="three", new_str="3")
    seen = running.shell(f"{BUSYBOX} cat {path}")
    if "one\ntwo → 世界\n3" not in seen:
        yield f"the edited file contains {one_line(seen)!r}"


def git(running: Running) -> Iterator[str]:
    """Checks that the agent-server reports the changes of a repository."""
    # git reads no settings of the base here, and needs none.
    commit = "git -c user.name=ohbuild -c user.email=ohbuild@localhost commit --quiet --message"
    # A clone, because without a remote 1.34.0 compares with an empty tree. For a path git would run a shell command.
    folder = running.shell(
        f"cd $({BUSYBOX} mktemp -d) && git init --quiet -b main a && cd a && echo one > file && git add file && "
        f"{commit} one && git bundle create --quiet ../bundle HEAD main && git clone --quiet ../bundle ../b && "
        "cd ../b && echo two > file && pwd && cd / > /dev/null"
    )
    path = folder.strip().splitlines()[-1].strip()
    changes = running.client.get("/api/git/changes", path=path).json()
    if [(change["status"], change["path"]) for change in changes] != [("UPDATED", "file")]:
        yield f"the changes of a repository are {changes!r}"
    diff = running.client.get("/api/git/diff", path=f"{path}/file").json()
    if (diff.get("original", "").strip(), diff.get("modified", "").strip()) != ("one", "two"):
        yield f"the diff of a file is {diff!r}"


_V0, _V1 = (ACTION_EXECUTION_SERVER,), (AGENT_SERVER,)
SERVER_POINTS: tuple[Point, ...] = (
    Point("key", "the agent-server answers only with its session key, otherwise 401", key, servers=_V1),
    Point("editor", "the agent's editor creates and changes a file", editor, servers=_V1),
    Point("git-changes", "the agent-server reports the changes of a repository", git, ("git",), servers=_V1),
    Point("ipython", "IPython runs in our Python", ipython, ("jupyter",), servers=_V0),
    Point("browse", "Chromium loads a page from loopback and renders its text", browse, ("chromium",)),
    Point("vscode-token", "VS Code returns 200 with its token, 403 without", vscode, ("vscode",)),
)
