"""The CA certificates for build steps that download, which are passed as a build secret."""

from __future__ import annotations

import os
from pathlib import Path

from ohbuild.config.settings import Settings
from ohbuild.config.values import is_off
from ohbuild.errors import UsageError
from ohbuild.images.trust import system_bundle


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
    file = system_bundle(os.environ)
    return file.read_bytes() if file else b""
