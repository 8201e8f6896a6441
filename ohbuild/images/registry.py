"""Reads images from registries (OCI distribution specification 1.1)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ohbuild.errors import ImageNotFound, NotAnImage, OhbuildError, RegistryError, RegistryRefused
from ohbuild.images import manifests, trust
from ohbuild.images.answers import (
    CONFIG_BYTES,
    MANIFEST_BYTES,
    BrokenAnswer,
    check_digest,
    digest_of,
    is_digest,
    is_quota,
    objects,
    parse_object,
    text,
)
from ohbuild.images.config import ImageConfig
from ohbuild.images.credentials import Credentials
from ohbuild.images.http import Answer, Http, RequestFailed
from ohbuild.images.login import Logins, refused, said
from ohbuild.images.manifests import Found
from ohbuild.images.platform import Platform
from ohbuild.images.proxies import Proxies
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry_config import Place, Registries, places


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
    """Reads images from registries as a builder does. Thread-safe.

    Args:
        registries: How the builder reaches registries.
        config_dir: Docker's configuration folder, for credentials; ``$DOCKER_CONFIG`` or ``~/.docker`` by default.
        environ: Environment variables; ``os.environ`` by default.
        transport: httpx transport to use instead of the network.
        sleep: Waits for a number of seconds before a request is repeated.
    """

    def __init__(
        self,
        registries: Registries | None = None,
        config_dir: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._registries = registries or Registries()
        certificates = trust.Trust(self._registries, trust.folders(environ, Path.home()), environ)
        self._http = Http(Proxies(environ), certificates, transport, sleep)
        self._logins = Logins(self._http, Credentials(config_dir, environ))
        self._working: dict[str, str] = {}

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def resolve(self, image: ImageRef) -> Image:
        """Returns the digest and platforms of an image.

        Raises:
            ImageNotFound: The registry has no such image.
            NotAnImage: The reference is not a container image.
            RegistryError: The registry refused the request, did not respond or returned something invalid.
        """
        with self._http.operation():
            _, found = self._find(image)
        return Image(digest=found.digest, sizes=dict.fromkeys(found.manifests, 0))

    def exists(self, image: ImageRef) -> bool:
        """Checks with a single HEAD request whether the registry has the manifest or index of an image.

        Raises:
            RegistryError: The registry refused the request or did not respond.
        """
        with self._http.operation():
            return self._head(image) is not None

    def digest(self, image: ImageRef) -> str | None:
        """Returns the digest of a manifest or index, from a HEAD request; ``None`` if it does not exist.

        Raises:
            RegistryError: The registry refused the request, did not respond or returned something invalid.
        """
        with self._http.operation():
            head = self._head(image)
            if head is None:
                return None
            named = head.headers.get("docker-content-digest", "")
            return named if is_digest(named) else image.digest or self.resolve(image).digest

    def describe(self, image: ImageRef, platforms: Iterable[Platform]) -> Image:
        """Like ``resolve``, with the sizes and configs of the requested platforms that the image has.

        Fetches the index, and a manifest and a config blob per platform, but no layers.
        """
        with self._http.operation():
            place, found = self._find(image)
            wanted = [platform for platform in dict.fromkeys(platforms) if platform in found.manifests]
            read = {platform: self._platform(place, image, found, platform) for platform in wanted}
        sizes = {platform: read[platform].size if platform in read else 0 for platform in found.manifests}
        return Image(digest=found.digest, sizes=sizes, configs=read)

    def inspect(self, image: ImageRef) -> Image:
        """Like ``resolve``, with all sizes, and the labels and environment of the first platform."""
        with self._http.operation():
            place, found = self._find(image)
            sizes = {
                platform: manifests.size(self._manifest(place, image, found, platform)) for platform in found.manifests
            }
            if not sizes:
                return Image(digest=found.digest, sizes={})
            config = self._platform(place, image, found, next(iter(sizes)))
        return Image(digest=found.digest, sizes=sizes, labels=config.labels, env=config.env)

    def layers(self, image: ImageRef, platform: Platform) -> tuple[str, ...]:
        """Returns the layer digests of an image for a platform, starting with the base's."""
        with self._http.operation():
            place, found = self._find(image)
            body = self._manifest(place, image, found, platform)
        return tuple(text(layer.get("digest")) for layer in objects(body.get("layers"), "layers"))

    @contextmanager
    def blob(self, image: ImageRef, digest: str) -> Iterator[Iterable[bytes]]:
        """Yields an iterator over the bytes of a blob, not checked against the digest.

        Raises:
            OhbuildError: As for ``resolve``. RegistryError is also raised while the bytes are read.
        """
        with self._http.operation():
            self._logins.forget(image.path)  # the previous blob may have taken longer than a token lasts
            place, _ = self._find(image)
        headers = {"Accept-Encoding": "identity", **self._logins.headers(place)}
        url = f"{self._working.get(place.host, place.urls[0])}/v2/{place.path}/blobs/{digest}"
        try:
            with self._http.stream(url, headers) as (status, content):
                if status >= 400:
                    raise RegistryError(f"{image}: registry {place.host} returned {status} for blob {digest}")
                yield content
        except RequestFailed as error:
            message = f"{image}: reading blob {digest} from registry {place.host} failed ({error.reason})"
            raise RegistryError(message, error.hint) from error

    def _head(self, image: ImageRef) -> Answer | None:
        problem: RegistryError | None = None
        for place in places(image, self._registries):
            try:
                return self._get(place, image, f"manifests/{image.digest or image.tag or 'latest'}", method="HEAD")
            except ImageNotFound:
                pass
            except RegistryError as error:  # if a mirror is down, try the next
                problem = error
        if problem:
            raise problem
        return None

    def _find(self, image: ImageRef) -> tuple[Place, Found]:
        """Returns the first place that has the image, and what is there."""
        problems: list[OhbuildError] = []
        for place in places(image, self._registries):
            try:
                return place, self._found(place, image)
            except NotAnImage:
                raise
            except OhbuildError as error:
                problems.append(error)
        if len(problems) > 1 and isinstance(problems[-1], RegistryError) and image.on_docker_hub:
            raise ImageNotFound(
                f"{image} is not in the mirror of Docker Hub, and Docker Hub cannot be reached",
                "check the name, or add the image to the mirror with `ohbuild engine seed`",
            )
        raise problems[-1]

    def _found(self, place: Place, image: ImageRef) -> Found:
        def read(digest: str) -> bytes:
            return self._content(place, image, f"manifests/{digest}", digest).body

        def config(found: Found, manifest: Mapping[str, Any]) -> dict[str, Any]:
            return self._config(place, image, manifest, found)

        answer = self._content(place, image, f"manifests/{image.digest or image.tag or 'latest'}", image.digest or "")
        named = answer.headers.get("docker-content-digest", "")
        with _valid(image, place, "answer"):
            check_digest(answer.body, named)
            digest = image.digest or (named if is_digest(named) else digest_of(answer.body))
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            return manifests.Reader(image, read, config).find(answer.body, kind, digest)

    def _platform(self, place: Place, image: ImageRef, found: Found, platform: Platform) -> ImageConfig:
        """Returns the config for one platform."""
        manifest = self._manifest(place, image, found, platform)
        with _valid(image, place, "image config"):
            return ImageConfig.parse(self._config(place, image, manifest, found), size=manifests.size(manifest))

    def _manifest(self, place: Place, image: ImageRef, found: Found, platform: Platform) -> dict[str, Any]:
        digest = found.manifests[platform]
        if digest not in found.read:
            answer = self._content(place, image, f"manifests/{digest}", digest)
            with _valid(image, place, "answer"):
                found.read[digest] = manifests.image_manifest(image, parse_object(answer.body))
        return found.read[digest]

    def _config(self, place: Place, image: ImageRef, manifest: Mapping[str, Any], found: Found) -> dict[str, Any]:
        digest = manifest["config"]["digest"]
        if digest not in found.read:
            answer = self._content(place, image, f"blobs/{digest}", digest)
            with _valid(image, place, "image config"):
                found.read[digest] = parse_object(answer.body)
        return found.read[digest]

    def _content(self, place: Place, image: ImageRef, what: str, digest: str) -> Answer:
        answer = self._get(place, image, what)
        with _valid(image, place, "answer"):
            check_digest(answer.body, digest)
        return answer

    def _get(self, place: Place, image: ImageRef, what: str, method: str = "GET") -> Answer:
        """Requests something, by the first URL of the registry that responds."""
        known = self._working.get(place.host)
        urls = [known] if known in place.urls else list(place.urls)
        failure: RequestFailed | None = None
        for number, url in enumerate(urls, 1):
            last = number == len(urls)
            try:
                answer = self._ask(url, place, image, what, method)
            except RequestFailed as error:
                # Of a registry that may use either, plain HTTP is the usual one, so its failure is the telling one.
                failure = error if failure is None or url.startswith("http://") else failure
                if last or not error.passed_on:
                    message = f"{image}: registry {place.host} cannot be reached ({failure.reason})"
                    raise RegistryError(message, failure.hint or _reach_hint(image)) from error
                continue
            if answer.status == 400 and not last:
                continue  # a server for HTTPS responds so to plain HTTP
            self._working[place.host] = url
            return _checked(image, place.host, answer)
        raise AssertionError("unreachable")

    def _ask(self, url: str, place: Place, image: ImageRef, what: str, method: str) -> Answer:
        address = f"{url}/v2/{place.path}/{what}"
        is_manifest = what.startswith("manifests/")
        accept = {"Accept": manifests.ACCEPT} if is_manifest else {}
        limit = MANIFEST_BYTES if is_manifest else CONFIG_BYTES
        answer = self._http.send(method, address, limit=limit, headers={**accept, **self._logins.headers(place)})
        if answer.status == 401:  # a login is needed, or has expired
            login = self._logins.log_in(image, place, answer)
            answer = self._http.send(method, address, limit=limit, headers={**accept, **login})
        return answer


def _checked(image: ImageRef, host: str, answer: Answer) -> Answer:
    """Returns an answer that has what was requested.

    Raises:
        ImageNotFound: The registry has no such image.
        RegistryError: It refused the request, or cannot answer it.
    """
    status = answer.status
    if status == 200:
        return answer
    if status in (401, 403, 404) and not is_quota(status, answer.body):
        # Docker Hub does not tell a private image from one that does not exist.
        if status == 404 or image.on_docker_hub:
            hint = "check the name and tag" + ("; private images require `docker login`" if image.on_docker_hub else "")
            raise ImageNotFound(f"{image}: {host} has no such image", hint)
        if status == 403:
            message = f"{image}: registry {host} denied access{said(answer.body)}"
            raise RegistryRefused(message, f"log in with `docker login {host}`, as a user who may read the image")
        raise refused(image, host, answer.body, known=False)
    hint = "wait, or log in as a user with a higher limit" if is_quota(status, answer.body) else ""
    raise RegistryError(f"{image}: registry {host} returned {answer.reason}{said(answer.body)}", hint)


@contextmanager
def _valid(image: ImageRef, place: Place, what: str) -> Iterator[None]:
    """Raises RegistryError if a registry's answer cannot be read, whatever it contains."""
    try:
        yield
    except BrokenAnswer as error:
        raise RegistryError(f"{image}: registry {place.host}: the {what} {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise RegistryError(f"{image}: registry {place.host}: the {what} is invalid") from error


def _reach_hint(image: ImageRef) -> str:
    if image.on_docker_hub:
        return "check the network, or add the image to the engine's registry with `ohbuild engine seed`"
    return "check the name and the network, or set preflight = false if only the builder can reach it"
