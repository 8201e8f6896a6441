"""Values in the command lines of buildx: lists of attributes, wherever a path or a name goes into one."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.builders import DockerBuilder
from ohbuild.builders.local_cache import local_cache
from ohbuild.builders.request import BuildRequest
from ohbuild.config.settings import Settings
from ohbuild.docker.attributes import attributes
from ohbuild.docker.buildx import Builder
from ohbuild.images.reference import ImageRef

_ODD = 'a,b "c",dest=/x'


def read(word: str) -> dict[str, str]:
    """Reads attributes as buildx does: a line of strict CSV, with fields of name and value."""
    (fields,) = csv.reader(io.StringIO(word, newline=""), strict=True)
    return {name: value for name, _, value in (field.partition("=") for field in fields)}


@given(st.dictionaries(st.from_regex("[a-z-]+", fullmatch=True), st.text(alphabet='ab ,"=\n\\/'), min_size=1))
def test_attributes_are_read_as_they_were_meant(values: dict[str, str]) -> None:
    assert read(attributes(values)) == values


def test_plain_attributes_are_written_plainly() -> None:
    assert attributes({"type": "local", "src": Path("/a b"), "push": True}) == "type=local,src=/a b,push=true"


def test_temporary_and_cache_folders_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / _ODD
    odd.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    monkeypatch.setenv("XDG_CACHE_HOME", str(odd))
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    made = DockerBuilder(settings=Settings(ca_bundle=str(bundle)))
    request = BuildRequest(folder=tmp_path, tags=(ImageRef.parse("a:b"),))
    (secret,) = made._secrets(request, odd)
    assert read(secret.removeprefix("--secret=")) == {"id": "ca", "src": f"{odd}/ca.crt"}
    builder = Builder(name="far", driver="remote", image_store=True)
    with local_cache(True, builder, request) as (sink,):
        place = read(sink.removeprefix("--cache-to="))["dest"]
    assert place.startswith(f"{odd}/")
    (Path(place) / "index.json").touch()
    with local_cache(True, builder, request) as (source, _):
        assert read(source.removeprefix("--cache-from=")) == {"type": "local", "src": place}
