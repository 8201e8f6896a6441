"""Logs in to registries (https://distribution.github.io/distribution/spec/auth/token)."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from ohbuild.errors import OhbuildError, RegistryError, RegistryRefused
from ohbuild.images.answers import TOKEN_BYTES, BrokenAnswer, error_of, is_quota, parse_object
from ohbuild.images.challenge import parse_challenges
from ohbuild.images.credentials import Credentials, CredentialsError, HelperError, Login
from ohbuild.images.http import Answer, Http, RequestFailed
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry_config import HUB_HOST, Place
from ohbuild.text import printable

_HUB_CONFIG_KEY = "https://index.docker.io/v1/"


class Logins:
    """Logs in, and keeps the tokens. Thread-safe.

    Args:
        http: Sends requests.
        credentials: Looks up credentials.
    """

    def __init__(self, http: Http, credentials: Credentials) -> None:
        self._http, self._credentials = http, credentials
        self._headers: dict[tuple[str, str], str] = {}

    def headers(self, place: Place) -> dict[str, str]:
        """Returns the header fields of a login that was made before; empty if none was needed."""
        known = self._headers.get((place.host, place.path))
        return {"Authorization": known} if known else {}

    def forget(self, path: str) -> None:
        """Forgets the tokens for a repository, which expire after minutes."""
        for key in [key for key in self._headers if key[1] == path]:
            self._headers.pop(key, None)

    def log_in(self, image: ImageRef, place: Place, answer: Answer) -> dict[str, str]:
        """Returns the header fields for a request that was answered with a challenge.

        Args:
            image: The image, for errors.
            place: Where it is requested.
            answer: The answer with status 401.

        Raises:
            RegistryRefused: The registry requires another login.
            RegistryError: The login cannot be checked, or the credentials cannot be read.
        """
        login, problem = self._login(image, place.host)
        challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
        by_scheme = {challenge.scheme: challenge.parameters for challenge in reversed(challenges)}
        if by_scheme.get("bearer", {}).get("realm"):
            value = self._bearer(image, place, by_scheme["bearer"], login, problem)
        elif "basic" in by_scheme and login and login.user:
            value = "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        else:
            raise refused(image, place.host, answer.body, problem, known=login is not None)
        self._headers[place.host, place.path] = value
        return {"Authorization": value}

    def _login(self, image: ImageRef, host: str) -> tuple[Login | None, str]:
        """Returns the credentials, and what is wrong with them. Like Docker, go on without a file that is invalid."""
        try:
            return self._credentials.get(_HUB_CONFIG_KEY if host == HUB_HOST else host), ""
        except HelperError as error:
            message = f"{image}: no credentials for registry {host}: {error}"
            raise RegistryError(message, "fix the helper, or remove it from Docker's config.json") from error
        except CredentialsError as error:
            return None, str(error)

    def _bearer(
        self, image: ImageRef, place: Place, challenge: Mapping[str, str], login: Login | None, problem: str
    ) -> str:
        if login and login.registry_token:
            return f"Bearer {login.registry_token}"
        query = {"scope": f"repository:{place.path}:pull"}
        if "service" in challenge:
            query["service"] = challenge["service"]
        realm, host = challenge["realm"], place.host
        who = f"{image}: the token server of registry {host}"
        try:
            if login and login.identity_token:
                token = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "ohbuild"}
                answer = self._http.send("POST", realm, limit=TOKEN_BYTES, form={**query, **token})
            else:
                pair = (login.user, login.password) if login and login.user else None
                answer = self._http.send("GET", realm, limit=TOKEN_BYTES, query=query, login=pair)
        except RequestFailed as error:
            raise RegistryError(
                f"{who} at {printable(realm, 100)} did not respond: {error.reason}", error.hint
            ) from error
        if answer.status in (400, 401, 403, 404) and not is_quota(answer.status, answer.body):
            raise refused(image, host, answer.body, problem, known=login is not None)
        if answer.status != 200:  # it has not judged the login
            raise RegistryError(f"{who} could not check the login: {answer.reason}{said(answer.body)}")
        try:
            body = parse_object(answer.body)
        except BrokenAnswer as error:
            raise RegistryError(f"{who} returned no token: its answer {error}") from error
        token_text = body.get("token") or body.get("access_token")
        if not isinstance(token_text, str) or not token_text.isascii() or not token_text.isprintable():
            raise RegistryError(f"{who} returned no token")
        return f"Bearer {token_text}"


def refused(image: ImageRef, host: str, body: bytes, problem: str = "", *, known: bool) -> OhbuildError:
    """Returns the error for a request that a registry refused.

    Args:
        image: The image.
        host: The registry.
        body: What it returned.
        problem: What is wrong with the credentials; empty if nothing.
        known: Whether there are credentials for it.
    """
    what = "rejected the login" if known else "requires a login"
    hint = f"log in with `docker login {host}`" + ("" if not known else ", as a user who may read the image")
    if problem:
        hint = f"{problem}: fix it, then {hint}"
    return RegistryRefused(f"{image}: registry {host} {what}{said(body)}", hint)


def said(body: bytes) -> str:
    """Returns a registry's own error message, after a colon; empty if there is none."""
    code, message = error_of(body)
    both = f"{message} ({code})" if message and code else message or code
    return f": {both}" if both else ""
