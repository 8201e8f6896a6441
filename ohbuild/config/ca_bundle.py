"""The CA certificates for build steps that download, which are passed as a build secret."""

from __future__ import annotations

import os
from pathlib import Path

from ohbuild.config.settings import Settings
from ohbuild.config.values import is_off
from ohbuild.errors import UsageError

_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def read_ca_bundle(settings: Settings) -> bytes:
    """Returns the certificates (PEM); empty if there are none.

    Raises:
        UsageError: The configured file cannot be read.
    """
    if is_off(settings.ca_bundle):
        return b""
    if settings.ca_bundle != "auto":
        try:
            return Path(settings.ca_bundle).read_bytes()
        except OSError as error:
            raise UsageError(
                f"ca_bundle {settings.ca_bundle}: {error.strerror}", "set ca_bundle to a file with PEM certificates"
            ) from error
    for name in (os.environ.get("SSL_CERT_FILE", ""), *_FILES):
        if name and Path(name).is_file():
            return Path(name).read_bytes()
    return b""
