"""A folder prepared by OpenHands is recognized only if nothing can get lost.

These tests use a small template with the same structure; tests/conformance uses OpenHands' own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from ohbuild.builders import prepared_folder as openhands_folder
from ohbuild.builders.prepared_folder import Asked, read
from ohbuild.components.openhands import source_hash

TEMPLATE = """\
FROM {{ base_image }}
{% if build_from_scratch %}
RUN scratch {{ "ubuntu" in base_image }} {{ channel_alias }}
{% endif %}
{% if enable_browser and not build_from_lock %}RUN browser{% endif %}
{% if build_from_versioned %}
RUN versioned
{% endif %}

# Install extra dependencies if specified (as openhands user)
{% if extra_deps %}
USER openhands
RUN {{ extra_deps }}
{% endif %}

# Set up environment for openhands user
USER root
RUN echo done
"""


def prepare(folder: Path, **values: object) -> Path:
    templates = folder / "code/openhands/runtime/utils/runtime_templates"
    templates.mkdir(parents=True, exist_ok=True)
    (templates / "Dockerfile.j2").write_text(TEMPLATE)
    (folder / "code/openhands/__init__.py").write_text("x = 1\n")
    (folder / "code/pyproject.toml").write_text("")
    given = {"base_image": "debian:trixie", "build_from_scratch": True, "enable_browser": True, "channel_alias": None}
    (folder / "Dockerfile").write_text(Environment().from_string(TEMPLATE).render({**given, **values}))
    return folder


@pytest.fixture(autouse=True)
def released(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the sources of these tests those of the release."""
    folder = prepare(tmp_path_factory.mktemp("release"))
    monkeypatch.setattr(openhands_folder, "SOURCE_HASH", source_hash(folder / "code/openhands"))


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({}, Asked(base="debian:trixie")),
        ({"base_image": "h:5000/a/b@sha256:" + "0" * 64}, Asked(base="h:5000/a/b@sha256:" + "0" * 64)),
        ({"enable_browser": False}, Asked(base="debian:trixie", enable_browser=False)),
        (
            {"extra_deps": "pip install a && \\\n    b"},
            Asked(base="debian:trixie", extra_deps="pip install a && \\\n    b"),
        ),
        ({"build_from_scratch": False}, Asked(base="debian:trixie", on_runtime=True)),
        ({"build_from_scratch": False, "build_from_versioned": True}, Asked(base="debian:trixie", on_runtime=True)),
    ],
)
def test_what_it_asks_for(tmp_path: Path, values: dict[str, object], asked: Asked) -> None:
    found = read(prepare(tmp_path, **values))
    assert found is not None
    assert (found.base, found.on_runtime, found.extra_deps) == (asked.base, asked.on_runtime, asked.extra_deps)
    assert found.enable_browser is asked.enable_browser


def test_a_channel_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(tmp_path, channel_alias="https://conda.example")
    assert read(folder) is None
    monkeypatch.setenv("OH_CONDA_CHANNEL_ALIAS", "https://conda.example")
    assert read(folder) == Asked(base="debian:trixie")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_extra_deps_come_through_as_they_were_or_it_is_left_alone(tmp_path: Path, text: str) -> None:
    found = read(prepare(tmp_path, extra_deps=text))
    assert found is None or found.extra_deps == text


def test_a_changed_dockerfile_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dockerfile = prepare(tmp_path) / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN mine\n")
    assert read(tmp_path) is None
    assert "Dockerfile differs from that of OpenHands 1.6.0: building it as is" in caplog.text


def test_changed_sources_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (prepare(tmp_path) / "code/openhands/__init__.py").write_text("x = 2\n")
    assert read(tmp_path) is None
    assert "code differs from that of OpenHands 1.6.0" in caplog.text


@pytest.mark.parametrize("text", ["FROM scratch\n", "", "\xff"])
def test_any_other_folder_is_left_alone_without_a_word(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(tmp_path) is None
    (tmp_path / "Dockerfile").write_text(text, encoding="latin-1")
    assert read(tmp_path) is None
    assert not caplog.text
