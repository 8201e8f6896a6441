"""Registry credentials from the docker client's configuration, found as the client finds them.

Sources: docker/cli, ``cli/config/configfile`` and ``cli/config/credentials``; docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohbuild.text import printable

AUTH_VARIABLE = "DOCKER_AUTH_CONFIG"
"""Environment variable with credentials as in ``config.json``, which take precedence."""
HELPER_SECONDS = 20.0
"""Time limit of a credential helper."""
_IDENTITY_TOKEN_USER = "<token>"
_NOT_FOUND = "credentials not found in native keychain"


class CredentialsError(Exception):
    """Credentials that are needed cannot be read. The message names the file, the variable or the helper."""


class HelperError(CredentialsError):
    """A credential helper that is required does not work. Docker fails in this case too."""


@dataclass(frozen=True)
class Login:
    """Credentials for a registry; at least one field is set.

    Attributes:
        user: User name.
        password: Password.
        identity_token: Token to request others with (OAuth 2.0 refresh token).
        registry_token: Token to send to the registry itself.
    """

    user: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


def config_folder(environ: Mapping[str, str]) -> Path:
    """Returns the folder of the docker client's configuration."""
    return Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


class Credentials:
    """Looks up registry credentials in ``$DOCKER_AUTH_CONFIG``, ``config.json`` and its credential helpers.

    Nothing is read before the first look-up, because a public registry needs no credentials.

    Args:
        config_dir: Docker's configuration folder; ``$DOCKER_CONFIG`` or ``~/.docker`` by default.
        environ: Environment variables; ``os.environ`` by default.
        seconds: Time limit of a credential helper in seconds.
    """

    def __init__(
        self,
        config_dir: Path | None = None,
        environ: Mapping[str, str] | None = None,
        seconds: float = HELPER_SECONDS,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._folder = config_dir or config_folder(self._environ)
        self._seconds = seconds

    def get(self, host: str) -> Login | None:
        """Returns the credentials for a registry; ``None`` if there are none.

        Args:
            host: Registry as named in Docker's configuration: ``host[:port]``, or the URL used for Docker Hub.

        Raises:
            CredentialsError: They cannot be read.
        """
        if text := self._environ.get(AUTH_VARIABLE, "").strip():
            found = _login(f"${AUTH_VARIABLE}", _object(f"${AUTH_VARIABLE}", text).get("auths"), host)
            if found:
                return found
        file = self._folder / "config.json"
        try:
            text = file.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise CredentialsError(f"{file} cannot be read: {reason}") from error
        config = _object(str(file), text)
        helpers = config.get("credHelpers")
        helper = (_matching(helpers, host) if isinstance(helpers, dict) else None) or config.get("credsStore")
        if helper:
            # Like Docker, use only the helper if there is one.
            return _ask_helper(helper, host, str(file), self._environ, self._seconds)
        return _login(str(file), config.get("auths"), host)


def hostname(key: str) -> str:
    """Returns the registry that a key of ``auths`` is for: ``host[:port]`` without scheme and path."""
    return re.sub(r"^https?://", "", key).partition("/")[0]


def _object(where: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CredentialsError(f"{where} is not valid JSON: {printable(str(error))}") from error
    if not isinstance(found, dict):
        raise CredentialsError(f"{where} is not a JSON object")
    return found


def _matching(entries: dict[str, Any], host: str) -> Any:
    """Returns the entry of a registry: the exact key, or else one with the same host."""
    if host in entries:
        return entries[host]
    return next((value for key, value in entries.items() if hostname(key) == hostname(host)), None)


def _login(where: str, auths: object, host: str) -> Login | None:
    if auths is None:
        return None
    if not isinstance(auths, dict):
        raise CredentialsError(f"{where}: `auths` is not an object")
    entry = _matching(auths, host)
    if entry is None or entry == {}:
        return None
    if not isinstance(entry, dict):
        raise CredentialsError(f"{where}: the entry of {host} is not an object")
    names = ("username", "password", "auth", "identitytoken", "registrytoken")
    values = {name: entry.get(name) or "" for name in names}
    for name, value in values.items():
        if not isinstance(value, str):
            raise CredentialsError(f"{where}: `{name}` of {host} is not a string")
    user, password = values["username"], values["password"]
    if values["auth"]:
        try:
            decoded = base64.b64decode(values["auth"], validate=True).decode()
        except ValueError as error:
            raise CredentialsError(f"{where}: `auth` of {host} is not Base64 text") from error
        user, colon, password = decoded.partition(":")
        if not colon:
            raise CredentialsError(f"{where}: `auth` of {host} is not Base64 of user:password")
    login = Login(user, password.strip("\0"), values["identitytoken"], values["registrytoken"])
    return login if login != Login() else None


def _ask_helper(helper: object, host: str, where: str, environ: Mapping[str, str], seconds: float) -> Login | None:
    """Runs a credential helper (protocol of docker-credential-helpers: host on stdin, JSON on stdout)."""
    if not isinstance(helper, str):
        raise CredentialsError(f"{where}: the name of a credential helper is not a string")
    if not re.fullmatch(r"[\w.-]+", helper):
        raise HelperError(f"{where}: {helper!r} is not the name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=seconds, check=False, env=dict(environ)
        )
    except FileNotFoundError as error:
        raise HelperError(f"credential helper {program} is not installed, but {where} requires it") from error
    except OSError as error:
        raise HelperError(f"credential helper {program} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        said = _last(error.stderr or b"")
        raise HelperError(f"credential helper {program} did not respond within {seconds:g} s{said}") from error
    if done.returncode:
        if done.stdout.decode(errors="replace").strip() == _NOT_FOUND:
            return None
        raise HelperError(f"credential helper {program} failed{_last(done.stderr or done.stdout)}")
    try:
        body = json.loads(done.stdout)
        user, secret = body["Username"], body["Secret"]
        if not (isinstance(user, str) and isinstance(secret, str)):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HelperError(f"credential helper {program} printed no credentials{_last(done.stderr)}") from error
    if user == _IDENTITY_TOKEN_USER:
        return Login(identity_token=secret)
    return Login(user, secret)


def _last(output: bytes) -> str:
    """Returns the last line that a program printed, after a colon."""
    lines = output.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {printable(last)}" if last else ""
