"""Decides the variables of the server's own process. Programs that it runs for an agent do not see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

PROGRAMS = ("/openhands/chromium/path",)
"""Folders with the programs that the server looks for by name: a browser if the image has one."""

# The server's defaults below its working folder (openhands/agent_server/config.py).
STATE = {
    "OH_CONVERSATIONS_PATH": "conversations",
    "OH_BASH_EVENTS_DIR": "bash_events",
    "OH_WORKSPACE_PATH": "project",
}
DEFAULTS = {
    # litellm would download its price list when it is imported, and wait for it where there is no network.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # A package would compile its modules again at every start, to check the types of their arguments.
    "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",
    # browser_use's limits, in seconds, are for machines that do nothing else.
    "TIMEOUT_BrowserStartEvent": "120",
    "TIMEOUT_BrowserLaunchEvent": "120",
    "TIMEOUT_BrowserConnectedEvent": "120",
    "TIMEOUT_NavigateToUrlEvent": "90",
    "TIMEOUT_BrowserStateRequestEvent": "90",
    "TIMEOUT_ScreenshotEvent": "60",
    # As in OpenHands' own images.
    "LOG_JSON": "true",
    "OH_ACP_SKILL_SOURCING": "openhands_managed",
    "OPENVSCODE_SERVER_ROOT": "/openhands/.openvscode-server",
}
BUNDLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")
# The server and its packages set variables with these prefixes for their own process.
OWN = ("TMUX_TMPDIR", "TIKTOKEN_CACHE_DIR", "OH_INTERNAL_SERVER_URL", "LC_CTYPE", "BROWSER_USE_")


def server_variables(
    environ: Mapping[str, str],
    base: Mapping[str, str],
    *,
    folder: str,
    state: str,
    writable: Callable[[str], bool],
) -> dict[str, str]:
    """Returns the variables to set in the server's process.

    Args:
        environ: The environment of the process, in which PATH and HOME are usable.
        base: The container's environment.
        folder: The working folder.
        state: The folder for our tools' data of the user.
        writable: Checks whether a folder is writable.
    """
    path = environ.get("PATH", "")
    found = {name: value for name, value in DEFAULTS.items() if name not in base}
    # Where the server cannot keep its state in its working folder, it is kept in the user's.
    if not writable(f"{folder.rstrip('/')}/workspace") and not writable(folder):
        found |= {name: f"{state}/workspace/{part}" for name, part in STATE.items() if name not in base}
    return found | {"PATH": ":".join((*PROGRAMS, path))}


def unusable(environ: Mapping[str, str], exists: Callable[[str], bool]) -> list[str]:
    """Returns variables that the server's process must not have: bundles of CA certificates that do not exist.

    Args:
        environ: The environment of the process.
        exists: Checks whether a path exists.
    """
    return [name for name in BUNDLES if environ.get(name) and not exists(environ[name])]


def agent_environment(base: Mapping[str, str], changed: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of programs that the server runs for an agent.

    This is the container's, with a UTF-8 locale if it has none, as in OpenHands' own images.

    Args:
        base: The container's environment.
        changed: Variables that were set in the server's process since it started, such as by a client's ``/api/init``.
    """
    found = {**base, **{name: value for name, value in changed.items() if not name.startswith(OWN)}}
    if not any(found.get(name) for name in LOCALE):
        found["LANG"] = "C.UTF-8"
    return found
