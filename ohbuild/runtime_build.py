"""What OpenHands 1.6.0 has as ``openhands.runtime.utils.runtime_build``: the same functions and the same command line.

``python -m ohbuild.runtime_build`` takes OpenHands' flags (``ohbuild.cli.runtime_build``).
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
