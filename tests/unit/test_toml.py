"""The line of a key in a TOML file, for errors about its value."""

from __future__ import annotations

import pytest

from ohbuild.config.toml import line_of

TEXT = """\
image = "first"
[tool.other]
image = "other"
[tool.ohbuild]  # ours
"image" = "ours"
platforms = [
  "linux/amd64",
]
[[tool.ohbuild.bases]]
image = "base"
[tool.ohbuild.'kubernetes']
limits.cpu = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("image", 1),
        ("tool.other.image", 3),
        ("tool.ohbuild.image", 5),
        ("tool.ohbuild.platforms", 6),
        ("tool.ohbuild.bases", 9),
        ("tool.ohbuild.kubernetes.limits.cpu", 12),
        ("tool.ohbuild.kubernetes.limits.memory", 12),  # the innermost that is there
        ("tool.ohbuild.kubernetes.labels", 11),
        ("tool.ohbuild.output", 4),
        ("output", 1),
    ],
)
def test_the_line_of_a_key(path: str, line: int) -> None:
    assert line_of(TEXT, *path.split(".")) == line
