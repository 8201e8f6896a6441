"""Which of a container's variables our own servers see.

Their packages read some two thousand variables, many of which a base sets for programs of its own: ``WEB_CONCURRENCY``,
``PLAYWRIGHT_NODEJS_PATH``, ``XDG_CONFIG_HOME``. So the servers see only those that are meant for them. Programs that
run for an agent have the container's environment (``environment``). docs/image.md has this table.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from fnmatch import translate

PASSED = {
    "the user, folders and programs": "HOME USER LOGNAME SHELL HOSTNAME PATH PWD TMPDIR TMUX_TMPDIR TERM NO_COLOR",
    "locale and time zone": "LANG LANGUAGE LC_* TZ",
    "proxies": (
        "HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy ftp_proxy all_proxy no_proxy"
    ),
    "certificates": "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS AWS_CA_BUNDLE",
    "settings of OpenHands": (
        "OH_* OPENHANDS_* OPENVSCODE_* SESSION_API_KEY DEBUG DEBUG_* LOG_* ACP_* AUTOMATION_* SANDBOX_* "
        "AGENT_SANDBOX_* AGENT_SERVER VSCODE VSCODE_PORT WORKER_* WORKSPACE_* RUNTIME RUNTIME_* SU_TO_USER "
        "BROWSERGYM_DOWNLOAD_DIR NO_CHANGE_TIMEOUT_SECONDS INIT_PLUGIN_TIMEOUT DISABLE_VSCODE_PLUGIN FILE_STORE "
        "FILE_STORE_* APP_PORT_* WORK_PORT_* LOCAL_RUNTIME_MODE BROWSER_USE_* TIMEOUT_*"
    ),
    "language models": (
        "LLM_* LITELLM_* *_API_KEY *_API_BASE *_BASE_URL *_API_VERSION AWS_* AZURE_* GOOGLE_* VERTEX_* VERTEXAI_* "
        "ANTHROPIC_* OPENAI_* GEMINI_* HF_TOKEN"
    ),
    "tracing and telemetry": "OTEL_* LMNR_* DO_NOT_TRACK ANONYMIZED_TELEMETRY",
}
"""Purpose → names, in which ``*`` stands for any characters."""

_PATTERN = re.compile("|".join(translate(name) for names in PASSED.values() for name in names.split()))


def passes(name: str) -> bool:
    """Whether our own servers see a variable."""
    return _PATTERN.fullmatch(name) is not None


def reduce(environ: MutableMapping[str, str]) -> None:
    """Removes all variables that our own servers must not see."""
    for name in [name for name in environ if not passes(name)]:
        del environ[name]
