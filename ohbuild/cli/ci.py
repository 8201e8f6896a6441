"""What commands do in a CI system, in addition to what they print."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from ohbuild.errors import UsageError


def write_outputs(outputs: Mapping[str, str]) -> None:
    """Sets outputs of the current step in GitHub Actions; does nothing elsewhere.

    See https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings.

    Args:
        outputs: Texts by name.

    Raises:
        UsageError: The file that GITHUB_OUTPUT names cannot be written.
    """
    file = os.environ.get("GITHUB_OUTPUT")
    if not file or os.environ.get("GITHUB_ACTIONS") != "true":
        return
    mark = f"ghadelimiter_{uuid.uuid4()}"
    try:
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{name}<<{mark}\n{text}\n{mark}\n" for name, text in outputs.items())
    except OSError as error:
        raise UsageError(f"GITHUB_OUTPUT {file}: {error.strerror}", "let it name a file that can be written") from error
