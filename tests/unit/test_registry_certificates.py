"""Certificates of registries: the system's, Docker's and the builder's."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pytest

from ohbuild.errors import RegistryError
from ohbuild.images import trust
from ohbuild.images.reference import ImageRef
from ohbuild.images.registry_config import Registries, RegistryConfig
from tests.registry_server import Request, Server, serving
from tests.unit.test_registry_faults import client


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x -keyout key -out crt"
    )
    subprocess.run([*words.split(), "-addext", "subjectAltName=DNS:registry.example,IP:127.0.0.1"], cwd=folder,
        check=True, capture_output=True)  # fmt: skip
    return folder / "crt", folder / "key"


@pytest.fixture(autouse=True)
def _one_ca(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The system and certifi know one CA instead of 150, which take 0.1 s to read, once for each setting."""
    end = "-----END CERTIFICATE-----\n"
    file = tmp_path_factory.mktemp("ca") / "ca.crt"
    file.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(end)[0] + end)
    monkeypatch.setattr(certifi, "where", lambda: str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[Server]:
    """A registry with a certificate that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Server() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.images.image("c:1")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def tunnel(server: Server) -> Iterator[str]:
    """An HTTP proxy that connects to one server, whatever is requested. Yields its URL."""

    def connect(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.server_port)) as other:

            def back() -> None:
                with suppress(OSError):  # closed at the other end
                    while data := other.recv(65536):
                        request.connection.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            while data := request.connection.recv(65536):
                other.sendall(data)

    with serving(connect) as proxy:
        yield f"http://{proxy.host}"


NAME = "registry.example:5000"


def test_a_private_ca_in_dockers_folder_or_in_the_builders_configuration(
    secure: Server, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    image = ImageRef.parse(f"{NAME}/c:1")
    with tunnel(secure) as proxy:
        environ = {"HTTPS_PROXY": proxy, "XDG_CONFIG_HOME": str(tmp_path), "SSL_CERT_FILE": "/nowhere"}
        with client(tmp_path, environ=environ) as registry, pytest.raises(RegistryError) as caught:
            registry.exists(image)
        assert "certificate verify failed" in caught.value.message
        assert "SSL_CERT_FILE=/nowhere does not exist" in caught.value.hint
        pem = certificate[0].read_text()
        with client(
            tmp_path, None, Registries({NAME: RegistryConfig(certificates=(pem,))}), environ=environ
        ) as registry:
            assert registry.exists(image)
        with client(tmp_path, None, Registries({NAME: RegistryConfig(insecure=True)}), environ=environ) as registry:
            assert registry.exists(image)
        folder = tmp_path / "docker" / "certs.d" / NAME
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_text(pem)
        with client(tmp_path, environ=environ) as registry:
            assert registry.exists(image)
        named = {**environ, "SSL_CERT_FILE": str(certificate[0]), "XDG_CONFIG_HOME": "/nowhere"}
        with client(tmp_path, environ=named) as registry:
            assert registry.exists(image)
        (folder / "ca.crt").write_text("nonsense")
        with (
            client(tmp_path, environ=environ) as registry,
            pytest.raises(RegistryError, match=r"ca\.crt is not a cert"),
        ):
            registry.exists(image)


def test_a_registry_on_loopback_may_have_any_certificate(secure: Server, tmp_path: Path) -> None:
    with client(tmp_path) as registry:
        assert registry.exists(ImageRef.parse(f"{secure.host}/c:1"))


def test_an_insecure_registry_is_asked_by_plain_http_if_it_has_no_certificate(tmp_path: Path) -> None:
    with serving() as server, tunnel(server) as proxy:
        server.images.image("c:1")
        environ = {"HTTPS_PROXY": proxy, "HTTP_PROXY": f"http://{server.host}"}
        server.answer = lambda request: server.images.answer(urlsplit(request.path).path)
        with client(tmp_path, None, Registries({NAME: RegistryConfig(insecure=True)}), environ=environ) as registry:
            assert registry.exists(ImageRef.parse(f"{NAME}/c:1"))
        assert f"HEAD http://{NAME}/v2/c/manifests/1" in server.requests


def test_the_systems_certificates_are_read_once(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text(certificate[0].read_text())

    def context(host: str, registries: Registries | None = None) -> ssl.SSLContext:
        return trust.Trust(registries or Registries(), [tmp_path], {"SSL_CERT_FILE": str(bundle)}).context(host)

    common = context("a.b")
    assert context("c.d") is common
    pem = Registries({"c.d": RegistryConfig(certificates=(bundle.read_text(),))})
    assert context("c.d", pem) is not common
    assert context("c.d", pem).verify_mode is common.verify_mode is ssl.CERT_REQUIRED
    insecure = context("c.d", Registries({"c.d": RegistryConfig(insecure=True)}))
    assert (insecure.verify_mode, insecure.check_hostname) == (ssl.CERT_NONE, False)
    bundle.write_text(2 * certificate[0].read_text())
    assert context("a.b") is not common


def test_folders_of_certificates(tmp_path: Path) -> None:
    assert trust.folders({}, tmp_path)[1] == tmp_path / ".config/docker/certs.d"
    assert trust.folders({"XDG_CONFIG_HOME": "/x"}, tmp_path)[1] == Path("/x/docker/certs.d")


def test_a_socks_proxy_is_used(tmp_path: Path) -> None:
    """RFC 1928, without authentication: greeting, then a request with the name of the host."""
    seen: list[bytes] = []

    def connect(place: socket.socket) -> None:
        one, _ = place.accept()
        with one:
            one.recv(3)
            one.sendall(b"\x05\x00")
            seen.append(one.recv(262)[5:-2])
            one.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            one.recv(65536)
            one.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as place:
        threading.Thread(target=connect, args=[place], daemon=True).start()
        environ = {"HTTP_PROXY": f"socks5://127.0.0.1:{place.getsockname()[1]}"}
        registries = Registries({"plain.example": RegistryConfig(http=True)})
        with client(tmp_path, registries=registries, environ=environ) as registry:
            assert not registry.exists(ImageRef.parse("plain.example/c"))
    assert seen == [b"plain.example"]
