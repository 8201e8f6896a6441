"""Components that are each broken in a different way, and two valid ones among them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ohbuild import Component

TEXT = "a component?"
ROOT = Path(__file__).parent


class Unrelated:
    """A class that is not a builder."""


def made(name: str, **more: Any) -> Component:
    """Creates a component that is valid unless other attributes are given."""
    return Component(**{"name": name, "description": "x", "version": "1", "root": ROOT, "part": "good.j2", **more})


@dataclass(frozen=True, kw_only=True)
class Derived(Component):
    """A valid component: a subclass that can be created without arguments."""

    name: str = "derived"
    description: str = "x"
    version: str = "1"
    root: Path | None = ROOT
    part: str = "derived.j2"


def bad_key() -> Component:
    """Reads a definition with an unknown key."""
    return Component.from_folder(ROOT / "bad-key")


def bad_check() -> Component:
    """Reads a definition with an incomplete check."""
    return Component.from_folder(ROOT / "bad-check")


def no_definition() -> Component:
    """Reads a folder that does not exist."""
    return Component.from_folder(ROOT / "nowhere")


def several() -> Iterator[Component]:
    """Yields components, of which only the first ``good`` is valid."""
    yield made("Bad_Name")
    yield made("python")  # ohbuild's own
    yield made("no-template", part="")
    yield made("syntax", part="syntax.j2")
    yield made("undefined", part="undefined.j2")
    yield made("no-stage")
    yield made("no-wrapper", part="no-wrapper.j2", wrappers=("oh-nothing",))
    yield made("outside", part="outside.j2", files=("../pyproject.toml",))
    yield made("secret", part="secret.j2", args={"DEPLOY": "ghp_" + "0123456789" * 4})
    yield made("path", part="path.j2", env={"LD_PRELOAD": "x"})
    yield made("needs-more", part="needs-more.j2", requires=("pyton",))
    yield made("needs-broken", part="needs-broken.j2", requires=("needs-more",))
    yield made("good")
    yield made("good")
    yield made("same-stage", part="same-stage.j2")
