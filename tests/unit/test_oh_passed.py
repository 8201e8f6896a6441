"""Which of a container's variables our own servers see."""

from __future__ import annotations

from pathlib import Path

import pytest
from oh_container import passed

PAGE = Path(__file__).parents[2] / "docs/image.md"


@pytest.mark.parametrize("name", ["HOME", "LC_CTYPE", "https_proxy", "OH_SECRET_KEY", "OPENAI_API_KEY", "MY_API_KEY"])
def test_what_is_meant_for_a_server_passes(name: str) -> None:
    assert passed.passes(name)


@pytest.mark.parametrize(
    "name",
    ["WEB_CONCURRENCY", "OPENSSL_CONF", "PLAYWRIGHT_NODEJS_PATH", "HOMEBREW", "LC", "MYLC_ALL", "A\nHOME", "TMUX", ""],
)
def test_all_else_does_not(name: str) -> None:
    assert not passed.passes(name)


def test_an_environment_is_reduced() -> None:
    environ = {"HOME": "/", "JUPYTER_PATH": "/x", "OH_BASE_ENVIRONMENT_0": "{}"}
    passed.reduce(environ)
    assert environ == {"HOME": "/", "OH_BASE_ENVIRONMENT_0": "{}"}


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text()
    for purpose, names in passed.PASSED.items():
        assert f"| {purpose} | {' '.join(f'`{name}`' for name in names.split())} |" in text
