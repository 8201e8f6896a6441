"""Replacement for ``openhands.runtime.utils.runtime_build`` of OpenHands 1.6.0, with the same functions.

``python -m ohbuild.runtime_build`` accepts OpenHands' command line; it is implemented in ``ohbuild.cli.runtime_build``.
"""

from __future__ import annotations

from ohbuild.openhands.build import build_runtime_image, ensure_runtime_image, prep_build_folder
from ohbuild.openhands.tags import (
    BuildFromImageType,
    get_runtime_image_repo,
    get_runtime_image_repo_and_tag,
    get_tag_for_versioned_image,
    truncate_hash,
)

__all__ = [
    "BuildFromImageType",
    "build_runtime_image",
    "ensure_runtime_image",
    "get_runtime_image_repo",
    "get_runtime_image_repo_and_tag",
    "get_tag_for_versioned_image",
    "prep_build_folder",
    "truncate_hash",
]


if __name__ == "__main__":
    from ohbuild.cli.runtime_build import main

    main()
