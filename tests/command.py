"""Runs ohbuild's command in this process."""

from __future__ import annotations

import pytest

from ohbuild.cli import main as cli


def run(capture: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Runs the command, and returns its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(words))
    out, err = capture.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, out, err
