"""Registry credentials from the docker client's configuration."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any


class Credentials:
    """Looks up registry credentials in Docker's ``config.json`` and its credential helpers.

    Args:
        config_dir: Docker's configuration folder; ``$DOCKER_CONFIG`` or ``~/.docker`` by default.
    """

    def __init__(self, config_dir: Path | None = None) -> None:
        folder = config_dir or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        try:
            self._config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._config = {}

    def get(self, host: str) -> tuple[str, str] | None:
        """Returns ``(user, password)``, or ``None`` if there are no credentials.

        The user ``<token>`` means that the password is an identity token.

        Args:
            host: Registry as named in Docker's configuration: ``host[:port]``, or the URL used for Docker Hub.
        """
        helper = self._config.get("credHelpers", {}).get(host) or self._config.get("credsStore")
        if helper and re.fullmatch(r"[\w.-]+", helper):
            found = _ask_helper(helper, host)
            if found:
                return found
        entry = self._config.get("auths", {}).get(host) or self._config.get("auths", {}).get(f"https://{host}") or {}
        if entry.get("identitytoken"):
            return "<token>", entry["identitytoken"]
        try:
            user, colon, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
        except ValueError:
            return None
        return (user, password) if colon else None


def _ask_helper(helper: str, host: str) -> tuple[str, str] | None:
    """Runs a credential helper (protocol of docker-credential-helpers: host on stdin, JSON on stdout)."""
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=host,
            capture_output=True,
            encoding="utf-8",
            timeout=20,
            check=True,
        )
        body = json.loads(done.stdout)
        return body["Username"], body["Secret"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
