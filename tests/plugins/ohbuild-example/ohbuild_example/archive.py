"""A builder that stores build contexts as archives, so that another machine can build them later."""

from __future__ import annotations

import tarfile
import threading
from pathlib import Path
from urllib.parse import quote

from ohbuild import Category, RuntimeBuilder, Settings
from ohbuild.builders.errors import build_error


class ArchiveBuilder(RuntimeBuilder):
    """Writes a ``.tar.gz`` of the build context for each tag: ``create_builder("archive", folder=…)``.

    Args:
        settings: Settings of ohbuild, passed to every builder.
        folder: Folder for the archives. By default the ``folder`` of the settings, or else the current folder.
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
        """Archives a build context.

        Args:
            path: Folder of the build context.
            tags: Tags of the image.
            platform: Ignored.
            extra_build_args: Ignored.
            use_local_cache: Ignored.
            timeout: Ignored.
            cancel: Ignored.

        Returns:
            The first tag.

        Raises:
            AgentRuntimeBuildError: The folder has no Dockerfile, there are no tags, or an archive cannot be written.
        """
        if not (Path(path) / "Dockerfile").is_file() or not tags:
            raise build_error(f"{path}: no Dockerfile, or no tags given", Category.CONTEXT)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for tag in tags:
                with tarfile.open(self._place(tag), "w:gz") as archive:
                    archive.add(path, arcname=".")
        except OSError as error:
            raise build_error(f"{self._folder}: {error.strerror}", Category.RESOURCE) from error
        return tags[0]

    def image_exists(self, image_name: str, pull_from_repo: bool = True) -> bool:
        """Checks whether an image's build context has been archived.

        Args:
            image_name: Tag of the image.
            pull_from_repo: Ignored.
        """
        return self._place(image_name).is_file()

    def _place(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.tar.gz"
