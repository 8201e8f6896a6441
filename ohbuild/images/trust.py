"""The certificates that registries are checked with: the system's, certifi's, Docker's and the builder's.

Docker's folders: https://docs.docker.com/engine/security/certificates. The system's: crypto/x509, root_linux.go.
"""

from __future__ import annotations

import functools
import os
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import certifi

from ohbuild.images.registry_config import Registries

_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class UnusableCertificate(ValueError):
    """A certificate for this registry cannot be read; the message names its file."""


def system_bundle(environ: Mapping[str, str]) -> Path | None:
    """Returns the file with the system's CA certificates: that of ``SSL_CERT_FILE``, or the first one that exists."""
    named = (environ.get("SSL_CERT_FILE", ""), *_BUNDLES)
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


def folders(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Returns the folders with certificates by registry: that of Docker and that of rootless Docker."""
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return Path("/etc/docker/certs.d"), config / "docker" / "certs.d"


class Trust:
    """The TLS settings of each registry.

    Args:
        registries: How the builder reaches registries.
        certs_dirs: Folders with a folder of certificates by registry.
        environ: Environment variables.
    """

    def __init__(self, registries: Registries, certs_dirs: Sequence[Path], environ: Mapping[str, str]) -> None:
        self._registries, self._certs_dirs, self._environ = registries, certs_dirs, environ
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()  # threads must not read the same certificates at the same time

    def context(self, host: str) -> ssl.SSLContext:
        """Returns the TLS settings for a registry, or for a host that it names.

        Args:
            host: The host, as ``host[:port]``.

        Raises:
            UnusableCertificate: A certificate for it cannot be read.
        """
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._new(host)
            return self._contexts[host]

    def _new(self, host: str) -> ssl.SSLContext:
        files = [file for folder in self._certs_dirs for file in _files(folder / host)]
        pems = self._registries.certificates(host)
        insecure = self._registries.skips_verification(host)
        if insecure:  # without the system's CAs, which nothing would be compared with
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif files or pems:
            context = _system(system_bundle(self._environ))
        else:
            return _shared(system_bundle(self._environ))
        for pem in pems:
            _load(f"a certificate in the configuration of the builder for {host}", context, data=pem)
        for file in files:
            if file.suffix == ".crt":
                _load(str(file), context, file=file)
            else:
                _load_pair(file, context)
        return context

    def problem(self) -> str:
        """Returns what keeps the system's certificates from being read, such as a variable; empty if nothing."""
        for name in _VARIABLES:
            for path in self._environ.get(name, "").split(os.pathsep if name.endswith("DIR") else "\0"):
                if path and not Path(path).exists():
                    return f"{name}={path} does not exist"
        file = self._environ.get("SSL_CERT_FILE", "")
        try:
            if file:
                ssl.create_default_context(cafile=file)
        except (OSError, ssl.SSLError):
            return f"SSL_CERT_FILE={file} is not a file with certificates"
        return ""


def _system(bundle: Path | None) -> ssl.SSLContext:
    """Returns new settings with the system's CAs. Variables that name nothing are ignored, as Go does."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    default = ssl.get_default_verify_paths().cafile
    # Reading a bundle costs tens of milliseconds, and the system's is mostly the default, which was just read.
    if bundle and not (default and os.path.realpath(default) == os.path.realpath(bundle)):
        with suppress(OSError, ssl.SSLError):  # what fails because of it names the variable
            context.load_verify_locations(cafile=bundle)
    return context


def _shared(bundle: Path | None) -> ssl.SSLContext:
    """Returns the settings for hosts without certificates of their own. A process reads the system's CAs once."""
    default = ssl.get_default_verify_paths()
    stamps = tuple(_stamp(path) for path in (default.cafile, default.capath, bundle))
    return _unchanged(bundle, stamps)


@functools.lru_cache(maxsize=4)
def _unchanged(bundle: Path | None, stamps: tuple[object, ...]) -> ssl.SSLContext:
    return _system(bundle)


def _stamp(path: str | Path | None) -> tuple[object, ...]:
    """Returns what changes with a file: its path, its time and its size."""
    if path is None:
        return ()
    try:
        status = Path(path).stat()
    except OSError:
        return (path,)
    return path, status.st_mtime_ns, status.st_size


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix in (".crt", ".cert"))
    except OSError:
        return []


def _load(name: str, context: ssl.SSLContext, *, file: Path | None = None, data: str | None = None) -> None:
    try:
        context.load_verify_locations(cafile=file, cadata=data)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise UnusableCertificate(f"{name} is not a certificate that can be read") from error


def _load_pair(cert: Path, context: ssl.SSLContext) -> None:
    key = cert.with_suffix(".key")
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UnusableCertificate(
            f"{cert} and {key.name} are not a certificate and its key that can be read"
        ) from error
