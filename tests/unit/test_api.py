"""The public names of ohbuild, and what importing them loads."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import ohbuild
from ohbuild.builders import BuildxBuilder, DockerBuilder, KubernetesBuilder, RuntimeBuilder


def test_every_public_name_is_there_and_documented() -> None:
    for name in set(ohbuild.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(ohbuild, name)), name
    assert dir(ohbuild) == sorted(ohbuild.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ohbuild.nothing  # noqa: B018


def test_importing_it_loads_nothing() -> None:
    code = "import sys, ohbuild; print(*(name for name in sys.modules if name.startswith(('ohbuild.', 'pydantic'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ohbuild.version"]


def test_type_checkers_see_the_same_names() -> None:
    source = inspect.getsource(ohbuild)
    assert {line.rpartition(" as ")[2] for line in source.splitlines() if " as " in line and "import" in line} == set(
        ohbuild.__all__
    ) - {"__version__"}


@pytest.mark.parametrize("kind", [BuildxBuilder, DockerBuilder, KubernetesBuilder])
def test_openhands_calls_fit(kind: type[RuntimeBuilder]) -> None:
    """Covers the calls of OpenHands 1.6.0: by keyword, by position, and with the later options."""
    build = inspect.signature(kind.build)
    build.bind(None, path="p", tags=["t"], platform=None, extra_build_args=None)
    build.bind(None, "p", ["t"], None, None, True, timeout=3.0)
    inspect.signature(kind.image_exists).bind(None, "a:b", False)
    inspect.signature(kind.image_exists).bind(None, image_name="a:b", pull_from_repo=True)
