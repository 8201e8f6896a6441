"""A builder for machines that build later: it packs build contexts and keeps them by the image's name."""

from __future__ import annotations

import tarfile
import threading
from pathlib import Path
from urllib.parse import quote

from ohbuild import Category, RuntimeBuilder, Settings
from ohbuild.builders.errors import build_error


class ArchiveBuilder(RuntimeBuilder):
    """``create_builder("archive", folder=…)``: a ``.tar.gz`` for each name of an image.

    Args:
        settings: as every builder gets them.
        folder: where the archives go; that of the settings, or the current one, by default.
    """

    def __init__(self, *, settings: Settings | None = None, folder: Path | None = None) -> None:
        self._folder = folder or (settings.folder if settings else Path())

    def build(
        self,
        path: str,
        tags: list[str],
        platform: str | None = None,
        extra_build_args: list[str] | None = None,
        use_local_cache: bool = False,
        *,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
    ) -> str:
        if not (Path(path) / "Dockerfile").is_file() or not tags:
            raise build_error(f"{path}: no Dockerfile, or no name for the image", Category.CONTEXT)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for tag in tags:
                with tarfile.open(self._place(tag), "w:gz") as archive:
                    archive.add(path, arcname=".")
        except OSError as error:
            raise build_error(f"{self._folder}: {error.strerror}", Category.RESOURCE) from error
        return tags[0]

    def image_exists(self, image_name: str, pull_from_repo: bool = True) -> bool:
        return self._place(image_name).is_file()

    def _place(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.tar.gz"
