"""Reads images from registries (OCI distribution specification 1.1, Docker's token authentication)."""

from __future__ import annotations

import base64
import functools
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ohbuild.errors import ImageNotFound, NotAnImage, OhbuildError, RegistryError, RegistryRefused
from ohbuild.images.config import ImageConfig, config_platform
from ohbuild.images.credentials import Credentials
from ohbuild.images.platform import Platform
from ohbuild.images.reference import DOCKER_HUB, ImageRef

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
# Prefixes of OCI's and Docker's media types for layers, non-distributable ones and all compressions included.
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_HUB_HOST = "registry-1.docker.io"
_HUB_CONFIG_KEY = "https://index.docker.io/v1/"


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image in a registry.

    Attributes:
        digest: Digest of the index, or of the manifest if there is no index.
        sizes: Compressed size of config and layers in bytes by platform; 0 if it was not requested.
        labels: Labels of the first platform; only set by ``Registry.inspect``.
        env: Environment of the first platform; only set by ``Registry.inspect``.
        configs: Configs of the requested platforms.
    """

    digest: str
    sizes: Mapping[Platform, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[Platform, ImageConfig] = field(default_factory=dict)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """All platforms of the image, sorted."""
        return tuple(sorted(self.sizes))


class Registry:
    """Reads images from registries. Thread-safe.

    Args:
        mirrors: Addresses (``http://host:port`` or ``host:port``) that are tried first for Docker Hub images.
        config_dir: Docker's configuration folder, for credentials; ``$DOCKER_CONFIG`` or ``~/.docker`` by default.
        timeout: Time limit of a request in seconds.
        insecure: Registries that use plain HTTP, in addition to those on loopback addresses.
        transport: httpx transport to use instead of the network.
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
        self._new_client = functools.partial(
            httpx.Client,
            timeout=httpx.Timeout(timeout, connect=5.0),
            follow_redirects=True,
            verify=_certificates(),
            transport=transport,
            # Like Go's HTTP client, never use a proxy for this machine.
            mounts=dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]")),
            headers={"User-Agent": "ohbuild"},
        )
        self._own = threading.local()
        self._clients: list[httpx.Client] = []

    @property
    def _client(self) -> httpx.Client:
        """A client per thread: the time httpx takes to choose a connection is quadratic in their number."""
        client: httpx.Client | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = self._new_client()
            self._clients.append(client)
        return client

    def close(self) -> None:
        """Closes all connections."""
        for client in self._clients:
            client.close()

    def resolve(self, image: ImageRef) -> Image:
        """Returns the digest and platforms of an image.

        Raises:
            ImageNotFound: The registry has no such image.
            NotAnImage: The reference is not a container image.
            RegistryError: The registry refused the request or did not respond.
        """
        _, index = self._find(image)
        return Image(digest=index.digest, sizes=dict.fromkeys(index.manifests, 0))

    def exists(self, image: ImageRef) -> bool:
        """Checks with a single HEAD request whether the registry has the manifest or index of an image.

        Raises:
            RegistryError: The registry refused the request or did not respond.
        """
        return self._head(image) is not None

    def digest(self, image: ImageRef) -> str | None:
        """Returns the digest of a manifest or index, from a HEAD request; ``None`` if it does not exist.

        Raises:
            RegistryError: The registry refused the request or did not respond.
        """
        head = self._head(image)
        if head is None:
            return None
        return head.headers.get("docker-content-digest") or image.digest or self.resolve(image).digest

    def _head(self, image: ImageRef) -> httpx.Response | None:
        problem: RegistryError | None = None
        for base in self._bases(image):
            try:
                return self._get(base, image, f"manifests/{image.digest or image.tag or 'latest'}", method="HEAD")
            except ImageNotFound:
                pass
            except RegistryError as error:  # if a mirror is down, try the next
                problem = error
        if problem:
            raise problem
        return None

    def describe(self, image: ImageRef, platforms: Iterable[Platform]) -> Image:
        """Like ``resolve``, with the sizes and configs of the requested platforms that the image has.

        Fetches the index, and a manifest and a config blob per platform, but no layers.
        """
        base, index = self._find(image)
        wanted = [platform for platform in dict.fromkeys(platforms) if platform in index.manifests]
        read = {platform: self._platform(base, image, index, platform) for platform in wanted}
        sizes = {platform: read[platform].size if platform in read else 0 for platform in index.manifests}
        return Image(digest=index.digest, sizes=sizes, configs=read)

    def inspect(self, image: ImageRef) -> Image:
        """Like ``resolve``, with all sizes, and the labels and environment of the first platform."""
        base, index = self._find(image)
        sizes = {platform: _size(self._manifest(base, image, index, platform)) for platform in index.manifests}
        if not sizes:
            return Image(digest=index.digest, sizes={})
        config = self._platform(base, image, index, next(iter(sizes)))
        return Image(digest=index.digest, sizes=sizes, labels=config.labels, env=config.env)

    def layers(self, image: ImageRef, platform: Platform) -> tuple[str, ...]:
        """Returns the layer digests of an image for a platform, starting with the base's."""
        base, index = self._find(image)
        body = self._manifest(base, image, index, platform)
        return tuple(layer["digest"] for layer in body["layers"] or ())

    @contextmanager
    def blob(self, image: ImageRef, digest: str) -> Iterator[Iterator[bytes]]:
        """Yields an iterator over the bytes of a blob, not checked against the digest.

        Raises:
            OhbuildError: As for ``resolve``. RegistryError is also raised while the bytes are read.
        """
        for key in [key for key in self._tokens if key[1] == image.path]:
            del self._tokens[key]  # it expires after minutes, and the previous blob may have taken as long
        base, _ = self._find(image)
        host = base.partition("://")[2]
        token = self._tokens.get((host, image.path))
        headers = {"Accept-Encoding": "identity", **({"Authorization": token} if token else {})}
        try:
            with self._client.stream("GET", f"{base}/v2/{image.path}/blobs/{digest}", headers=headers) as response:
                if response.status_code >= 400:
                    raise RegistryError(f"{image}: registry {host} returned {response.status_code} for blob {digest}")
                yield response.iter_raw()
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise RegistryError(f"{image}: reading blob {digest} from registry {host} failed ({reason})") from error

    def _platform(self, base: str, image: ImageRef, index: _Index, platform: Platform) -> ImageConfig:
        """Returns the config for one platform."""
        manifest = self._manifest(base, image, index, platform)
        try:
            return ImageConfig.parse(self._config(base, image, index, manifest), size=_size(manifest))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"{image}: the registry returned an invalid image config") from error

    def _manifest(self, base: str, image: ImageRef, index: _Index, platform: Platform) -> dict[str, Any]:
        digest = index.manifests[platform]
        if digest not in index.read:
            index.read[digest] = _image_manifest(image, self._get(base, image, f"manifests/{digest}"))
        return index.read[digest]

    def _config(self, base: str, image: ImageRef, index: _Index, manifest: Mapping[str, Any]) -> dict[str, Any]:
        digest = manifest["config"]["digest"]
        if digest not in index.read:
            body = self._get(base, image, f"blobs/{digest}").json()
            index.read[digest] = body if isinstance(body, dict) else {}
        return index.read[digest]

    def _find(self, image: ImageRef) -> tuple[str, _Index]:
        """Returns the first base URL that has the image, and the index there."""
        problems: list[OhbuildError] = []
        for base in self._bases(image):
            try:
                return base, self._index(base, image)
            except NotAnImage:
                raise
            except OhbuildError as error:
                problems.append(error)
        if len(problems) > 1 and isinstance(problems[-1], RegistryError):
            raise ImageNotFound(
                f"{image} is not in the mirror of Docker Hub, and Docker Hub cannot be reached",
                "check the name, or add the image to the mirror with `ohbuild engine seed`",
            )
        raise problems[-1]

    def _bases(self, image: ImageRef) -> list[str]:
        """Returns the base URLs to try, in order, without ``/v2``."""
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
            index = _Index(digest)
            if body.get("mediaType", response.headers.get("content-type", "")) in _INDEXES or "manifests" in body:
                for item in body["manifests"]:
                    described = item.get("platform") or {}
                    if not described.get("os"):  # like containerd, read it from the config
                        index.read[item["digest"]] = _image_manifest(
                            image, self._get(base, image, f"manifests/{item['digest']}")
                        )
                        described = self._config(base, image, index, index.read[item["digest"]])
                    if described.get("os") != "unknown":  # unless it is an attestation
                        # Windows images have one entry per OS version on the same platform: use the first.
                        index.manifests.setdefault(config_platform(described), item["digest"])
                return index
            index.read[digest] = _image_manifest(image, response)
            index.manifests[config_platform(self._config(base, image, index, index.read[digest]))] = digest
            return index
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"{image}: the registry's answer is not an image manifest") from error

    def _get(self, base: str, image: ImageRef, what: str, method: str = "GET") -> httpx.Response:
        url = f"{base}/v2/{image.path}/{what}"
        host = base.partition("://")[2]
        headers = {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))} if what.startswith("manifests") else {}
        key = (host, image.path)
        if key in self._tokens:
            headers["Authorization"] = self._tokens[key]
        try:
            response = self._client.request(method, url, headers=headers)
            if response.status_code == 401 and "Authorization" not in headers:
                self._tokens[key] = self._authorise(host, image, response.headers.get("www-authenticate", ""))
                headers["Authorization"] = self._tokens[key]
                response = self._client.request(method, url, headers=headers)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise RegistryError(f"{image}: registry {host} cannot be reached ({reason})", _reach_hint(image)) from error
        if response.status_code == 404 or (response.status_code in (401, 403) and image.on_docker_hub):
            hint = "check the name and tag" + ("; private images require `docker login`" if image.on_docker_hub else "")
            raise ImageNotFound(f"{image}: {host} has no such image", hint)
        if response.status_code in (401, 403):
            raise RegistryRefused(f"{image}: registry {host} denied access", f"log in with `docker login {host}`")
        if response.status_code >= 400:
            raise RegistryError(f"{image}: registry {host} returned {response.status_code} {response.reason_phrase}")
        return response

    def _authorise(self, host: str, image: ImageRef, challenge: str) -> str:
        """Returns the Authorization header value for a WWW-Authenticate challenge."""
        scheme, _, rest = challenge.partition(" ")
        account = self._credentials.get(_HUB_CONFIG_KEY if host == _HUB_HOST else host)
        if scheme.lower() == "basic" and account:
            return "Basic " + base64.b64encode(":".join(account).encode()).decode()
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise RegistryRefused(f"{image}: registry {host} requires a login", f"log in with `docker login {host}`")
        query = {"scope": f"repository:{image.path}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        if account and account[0] == "<token>":
            form = {**query, "grant_type": "refresh_token", "refresh_token": account[1], "client_id": "ohbuild"}
            response = self._client.post(fields["realm"], data=form)
        else:
            response = self._client.get(fields["realm"], params=query, auth=account)
        if response.status_code >= 500 or response.status_code == 429:  # it has not judged the login
            why = f"{response.status_code} {response.reason_phrase}"
            raise RegistryError(f"{image}: registry {host} could not check the login: {why}")
        if response.status_code >= 400:
            raise RegistryRefused(f"{image}: registry {host} rejected the login", f"log in with `docker login {host}`")
        body = response.json()
        return f"Bearer {body.get('token') or body.get('access_token')}"


@dataclass(frozen=True)
class _Index:
    """The manifests that a reference resolves to.

    Attributes:
        digest: Digest of the index, or of the manifest if there is no index.
        manifests: Manifest digests by platform.
        read: Manifests and configs by digest, so that none is fetched twice.
    """

    digest: str
    manifests: dict[Platform, str] = field(default_factory=dict)
    read: dict[str, dict[str, Any]] = field(default_factory=dict)


def _image_manifest(image: ImageRef, response: httpx.Response) -> dict[str, Any]:
    """Returns the image manifest in a response (https://github.com/opencontainers/image-spec, manifest.md).

    Raises:
        NotAnImage: It describes something else.
        ValueError, KeyError, TypeError, AttributeError: It is not a manifest.
    """
    body: dict[str, Any] = response.json()
    if body.get("schemaVersion") == 1 or "fsLayers" in body:
        raise NotAnImage(
            f"{image} uses Docker's image format from before 2016 (schema 1), which BuildKit does not support",
            "pull it with an old Docker version and push it again with a current one",
        )
    kind = body["config"].get("mediaType") or _CONFIGS[0]
    other = [layer.get("mediaType", "") for layer in body["layers"] or ()]
    other = [name for name in other if name and not name.startswith(_LAYERS)]
    if kind not in _CONFIGS or other:
        name = body.get("artifactType") or (kind if kind not in _CONFIGS else other[0])
        raise NotAnImage(f"{image} is not a container image but {name}", "use the reference of a container image")
    return body


def _size(manifest: Mapping[str, Any]) -> int:
    """Returns the compressed size of config and layers in bytes."""
    return int(manifest["config"].get("size", 0)) + sum(int(layer.get("size", 0)) for layer in manifest["layers"] or ())


def is_loopback(registry: str) -> bool:
    """Checks whether ``host[:port]`` is a loopback address, for which Docker uses plain HTTP."""
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
    """Returns a TLS context that trusts certifi's CAs and the system's, where corporate CAs are installed."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


def _reach_hint(image: ImageRef) -> str:
    if image.on_docker_hub:
        return "check the network, or add the image to the engine's registry with `ohbuild engine seed`"
    return "check the name and the network, or set preflight = false if only the builder can reach it"


def _sha256(data: bytes) -> str:
    import hashlib

    return "sha256:" + hashlib.sha256(data).hexdigest()
