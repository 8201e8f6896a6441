"""Tiny build contexts for builders."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path

from ohbuild.images.reference import ImageRef
from ohbuild.images.registry import Registry
from tests.engine.places import settings

SETTINGS = settings(ca_bundle="off")


def make_context(folder: Path, *lines: str, word: str = "") -> Path:
    """Creates a build context. Its Dockerfile builds from scratch unless other lines are given."""
    folder.mkdir()
    (folder / "file").write_text(f"{word or uuid.uuid4().hex}\n")
    (folder / "Dockerfile").write_text(
        "\n".join(lines or ("FROM scratch", "ARG WORD", "LABEL word=$WORD", "COPY file /"))
    )
    return folder


def digest(name: str) -> str:
    with closing(Registry()) as registry:
        return registry.resolve(ImageRef.parse(name)).digest
