"""What a registry says about an image (OCI distribution specification 1.1, Docker's token authentication)."""

from __future__ import annotations

import base64
import functools
import ipaddress
import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ohbuild.errors import ImageNotFound, OhbuildError, PlatformMissing, RegistryError
from ohbuild.model import DOCKER_HUB, ImageRef, Platform

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_HUB_HOST = "registry-1.docker.io"
_HUB_CONFIG_KEY = "https://index.docker.io/v1/"


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image in a registry.

    Parameters
    ----------
    digest: of the index, or of the manifest where there is no index.
    sizes: platform → compressed size of config and layers in bytes; 0 where it was not asked for.
    """

    digest: str
    sizes: Mapping[Platform, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        return tuple(sorted(self.sizes))


class Registry:
    """Reads images. Safe to use from several threads.

    Parameters
    ----------
    mirrors: addresses (``http://host:port`` or ``host:port``) asked first for Docker Hub names.
    insecure: registries, besides those on loopback, that speak plain http.
    config_dir: Docker's configuration folder, for credentials; ``$DOCKER_CONFIG`` or ``~/.docker`` by default.
    timeout: seconds for one request.
    """

    def __init__(
        self,
        mirrors: Sequence[str] = (),
        config_dir: Path | None = None,
        timeout: float = 15.0,
        insecure: Sequence[str] = (),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._mirrors = tuple(mirrors)
        self._insecure = frozenset(insecure)
        self._credentials = Credentials(config_dir)
        self._tokens: dict[tuple[str, str], str] = {}
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=5.0),
            follow_redirects=True,
            verify=_certificates(),
            transport=transport,
            # As in Go's client: what is on this machine is never asked through a proxy.
            mounts=dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]")),
            headers={"User-Agent": "ohbuild"},
        )

    def close(self) -> None:
        self._client.close()

    def resolve(self, image: ImageRef) -> Image:
        """Digest and platforms of an image; of a single manifest, labels and environment too.

        Raises
        ------
        ImageNotFound: the registry has no such image.
        RegistryError: it refused or did not answer.
        """
        _, index = self._find(image)
        return Image(digest=index.digest, sizes=dict.fromkeys(index.manifests, 0))

    def inspect(self, image: ImageRef) -> Image:
        """As ``resolve``, with sizes, and with labels and environment of the first platform."""
        base, first = self._find(image)
        sizes: dict[Platform, int] = {}
        labels: Mapping[str, str] = {}
        env: Mapping[str, str] = {}
        for platform, digest in first.manifests.items():
            body = self._get(base, image, f"manifests/{digest}").json()
            sizes[platform] = body["config"]["size"] + sum(layer["size"] for layer in body["layers"] or ())
            if not labels:
                labels, env = _config(self._get(base, image, f"blobs/{body['config']['digest']}").json())
        return Image(digest=first.digest, sizes=sizes, labels=labels, env=env)

    def layers(self, image: ImageRef, platform: Platform) -> tuple[str, ...]:
        """The layer digests of an image for a platform, the base's first."""
        base, found = self._find(image)
        body = self._get(base, image, f"manifests/{found.manifests[platform]}").json()
        return tuple(layer["digest"] for layer in body["layers"] or ())

    def _find(self, image: ImageRef) -> tuple[str, _Index]:
        """The first address that has the image, and what it has."""
        problems: list[OhbuildError] = []
        for base in self._bases(image):
            try:
                return base, self._index(base, image)
            except OhbuildError as error:
                problems.append(error)
        if len(problems) > 1 and isinstance(problems[-1], RegistryError):
            raise ImageNotFound(
                f"{image} is not in the registry that stands in for Docker Hub, and Docker Hub cannot be reached",
                "check the name, or put the image there with `ohbuild engine seed`",
            )
        raise problems[-1]

    def _bases(self, image: ImageRef) -> list[str]:
        """Addresses to ask, in order, up to ``/v2``."""
        if image.registry == DOCKER_HUB:
            mirrors = [mirror if "://" in mirror else f"{self._scheme(mirror)}://{mirror}" for mirror in self._mirrors]
            return [*(mirror.rstrip("/") for mirror in mirrors), f"https://{_HUB_HOST}"]
        return [f"{self._scheme(image.registry)}://{image.registry}"]

    def _scheme(self, registry: str) -> str:
        return "http" if is_loopback(registry) or registry in self._insecure else "https"

    def _index(self, base: str, image: ImageRef) -> _Index:
        response = self._get(base, image, f"manifests/{image.digest or image.tag or 'latest'}")
        try:
            body = response.json()
            digest = image.digest or response.headers.get("docker-content-digest") or _sha256(response.content)
            if body.get("mediaType", response.headers.get("content-type", "")) in _INDEXES or "manifests" in body:
                listed = [item for item in body["manifests"] if item.get("platform", {}).get("os") != "unknown"]
                return _Index(digest, {_platform(item.get("platform", {})): item["digest"] for item in listed})
            config = self._get(base, image, f"blobs/{body['config']['digest']}").json()
            return _Index(digest, {_platform(config): digest})
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(f"{image}: the registry's answer is not an image manifest") from error

    def _get(self, base: str, image: ImageRef, what: str) -> httpx.Response:
        url = f"{base}/v2/{image.path}/{what}"
        host = base.partition("://")[2]
        headers = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))} if what.startswith("manifests") else {}
        key = (host, image.path)
        if key in self._tokens:
            headers["Authorization"] = self._tokens[key]
        try:
            response = self._client.get(url, headers=headers)
            if response.status_code == 401 and "Authorization" not in headers:
                self._tokens[key] = self._authorise(host, image, response.headers.get("www-authenticate", ""))
                response = self._client.get(url, headers={**headers, "Authorization": self._tokens[key]})
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise RegistryError(f"{image}: registry {host} cannot be reached ({reason})", _reach_hint(image)) from error
        if response.status_code == 404 or (response.status_code in (401, 403) and image.on_docker_hub):
            hint = "check the name and the tag" + (
                "; a private image needs `docker login`" if image.on_docker_hub else ""
            )
            raise ImageNotFound(f"{image}: {host} has no such image", hint)
        if response.status_code in (401, 403):
            raise RegistryError(f"{image}: registry {host} refuses to show it", f"log in with `docker login {host}`")
        if response.status_code >= 400:
            raise RegistryError(f"{image}: registry {host} answers {response.status_code} {response.reason_phrase}")
        return response

    def _authorise(self, host: str, image: ImageRef, challenge: str) -> str:
        """The value of an Authorization header that meets a WWW-Authenticate challenge."""
        scheme, _, rest = challenge.partition(" ")
        account = self._credentials.get(_HUB_CONFIG_KEY if host == _HUB_HOST else host)
        if scheme.lower() == "basic" and account:
            return "Basic " + base64.b64encode(":".join(account).encode()).decode()
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise RegistryError(f"{image}: registry {host} wants a log-in", f"log in with `docker login {host}`")
        query = {"scope": f"repository:{image.path}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        if account and account[0] == "<token>":
            form = {**query, "grant_type": "refresh_token", "refresh_token": account[1], "client_id": "ohbuild"}
            response = self._client.post(fields["realm"], data=form)
        else:
            response = self._client.get(fields["realm"], params=query, auth=account)
        if response.status_code >= 400:
            raise RegistryError(f"{image}: registry {host} refuses the log-in", f"log in with `docker login {host}`")
        body = response.json()
        return f"Bearer {body.get('token') or body.get('access_token')}"


@dataclass(frozen=True)
class _Index:
    digest: str
    manifests: Mapping[Platform, str]


class Credentials:
    """User and password of a registry, from Docker's ``config.json`` and its credential helpers."""

    def __init__(self, config_dir: Path | None = None) -> None:
        folder = config_dir or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        try:
            self._config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError):
            self._config = {}

    def get(self, host: str) -> tuple[str, str] | None:
        """``(user, password)``; the user ``<token>`` means an identity token. ``None`` if nothing is known."""
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
    """The protocol of docker-credential-helpers: the host on stdin, JSON on stdout."""
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=host, capture_output=True, text=True, timeout=20, check=True
        )
        body = json.loads(done.stdout)
        return body["Username"], body["Secret"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def preflight(
    registry: Registry, wanted: Iterable[tuple[ImageRef, Sequence[Platform]]]
) -> tuple[dict[str, Image], list[tuple[ImageRef, OhbuildError]]]:
    """Ask for all images at once; each must have the platforms named with it.

    Returns
    -------
    Canonical reference → image of those found, and what is wrong with the others.
    """
    pairs = list(wanted)

    def ask(pair: tuple[ImageRef, Sequence[Platform]]) -> Image | OhbuildError:
        reference, platforms = pair
        try:
            image = registry.resolve(reference)
        except OhbuildError as error:
            return error
        missing = [str(platform) for platform in platforms if platform not in image.sizes]
        if missing:
            have = ", ".join(str(platform) for platform in image.platforms)
            hint = f'ask for those only, or set `platforms` for this base: {{image = "{reference}", platforms = […]}}'
            return PlatformMissing(f"{reference} is not there for {', '.join(missing)}; it has {have}", hint)
        return image

    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(ask, pairs))
    found = {
        pair[0].canonical: answer for pair, answer in zip(pairs, answers, strict=True) if isinstance(answer, Image)
    }
    wrong = [(pair[0], item) for pair, item in zip(pairs, answers, strict=True) if isinstance(item, OhbuildError)]
    return found, wrong


def is_loopback(registry: str) -> bool:
    """Whether ``host[:port]`` is this machine, where Docker speaks plain http."""
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Python's trust (certifi's and the system's): a company's own CA is in the latter."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


def _reach_hint(image: ImageRef) -> str:
    if image.on_docker_hub:
        return "no way to Docker Hub? put the image into the engine's registry with `ohbuild engine seed`"
    return "check the name and the network; if only the builder can reach it, set preflight = false"


def _platform(value: Mapping[str, Any]) -> Platform:
    parts = [value.get("os", ""), value.get("architecture", ""), value.get("variant", "")]
    try:
        return Platform.parse("/".join(part for part in parts if part))
    except OhbuildError:
        return Platform(*parts)


def _config(body: Mapping[str, Any]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    config = body.get("config") or {}
    env = dict(item.partition("=")[::2] for item in config.get("Env") or ())
    return config.get("Labels") or {}, env


def _sha256(data: bytes) -> str:
    import hashlib

    return "sha256:" + hashlib.sha256(data).hexdigest()
