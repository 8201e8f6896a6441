"""Validation of the arguments of `RuntimeBuilder.build()`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.builders.request import check_options, check_request, check_tags
from ohbuild.errors import OhbuildError, SeveralErrors, UsageError
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def test_what_openhands_gives_is_taken(folder: Path) -> None:
    tags = [f"ghcr.io/openhands/runtime:oh_v1.6.0_{name}" for name in ("lock_source", "lock", "base_t_1")]
    extra = ["--network=host", "--add-host=host.docker.internal:host-gateway", "--build-arg", "A=b=c"]
    request = check_request(path=str(folder), tags=tags, platform="linux/arm64", extra_build_args=extra)
    assert [str(tag) for tag in request.tags] == tags
    assert request.platforms == (Platform("linux", "arm64"),)
    assert request.options == (*extra[:2], "--build-arg=A=b=c")
    assert check_request(str(folder), tags, None, None).platforms == ()


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SeveralErrors) as caught:
        check_request(tmp_path / "gone", ["UPPER/case"], "linux/amd46", ["--tag=x"])
    told = " ".join(error.message for error in caught.value.errors)
    assert all(word in told for word in ("gone does not exist", "UPPER/case", "amd46", "--tag"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no Dockerfile found in"),
        (lambda path: (path / "Dockerfile").mkdir(), "cannot be read"),
        (lambda path: (path / "Dockerfile").symlink_to("gone"), "no Dockerfile found in"),
    ],
)
def test_a_folder_without_a_dockerfile(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        check_request(tmp_path, ["a:b"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, ["a:b"], None, None), "path: None has the wrong type"),
        ((".", None, None, None), "tags: None has the wrong type"),
        ((".", ["a:b", 1], None, None), "tags: .* has the wrong type"),
        ((".", ["a:b"], ["linux/amd64"], None), "platform: .* has the wrong type"),
        ((".", ["a:b"], None, {"A": "b"}), "extra_build_args: .* has the wrong type"),
    ],
)
def test_what_is_of_another_type(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        check_request(*given)
    assert caught.value.hint.startswith("pass a")


def test_a_file_is_not_a_folder(folder: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        check_request(folder / "Dockerfile", ["a:b"])


@pytest.mark.parametrize("name", ["-x", "--help", "git@x:y", "http://x/y", "git://x", "x.git#main", "-", "a,b"])
def test_a_folder_is_never_an_option_or_a_url_to_buildx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "Dockerfile").touch()
    monkeypatch.chdir(tmp_path)
    request = check_request(name, ["a:b"], None, [f"--file={name}/Dockerfile"])
    assert request.folder == tmp_path / name
    assert request.options == (f"--file={tmp_path / name}/Dockerfile",)


def test_another_dockerfile(folder: Path) -> None:
    (folder / "Dockerfile").rename(folder / "Other")
    assert check_request(folder, ["a:b"], None, ["-f", str(folder / "Other")]).says("file")
    with pytest.raises(UsageError, match="no Third found in"):
        check_request(folder, ["a:b"], None, [f"--file={folder}/Third"])


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["localhost:5000/a/b"], ["localhost:5000/a/b:latest"]),
        (["a:1", "docker.io/library/a:1", "a:2"], ["a:1", "a:2"]),
        (["[::1]:5000/a:1"], ["[::1]:5000/a:1"]),
    ],
)
def test_tags_are_completed_and_doubles_go(tags: list[str], wanted: list[str]) -> None:
    assert [str(tag) for tag in check_tags(tags)] == wanted


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([], "tags is empty"),
        ("a:b", "not a list"),
        (["a@sha256:" + "0" * 64], "has a digest"),
        (["a:" + "x" * 129], "invalid tag"),
        (["a:b", ""], "not an image reference"),
    ],
)
def test_tags_that_are_none(tags: list[str], message: str) -> None:
    with pytest.raises(OhbuildError, match=message):
        check_tags(tags)


@given(st.lists(st.sampled_from(["a", "b:1", "localhost:5000/c/d", "h.io:1/e:f"]), min_size=1, max_size=6))
def test_no_tag_is_dropped(tags: list[str]) -> None:
    """OpenHands' builder dropped the third."""
    found = {tag.canonical for tag in check_tags(tags)}
    assert found == {ImageRef.parse(tag).canonical for tag in tags}


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["A=b"], "not an option", "--build-arg=A=b"),
        (["--build-arg A=b"], "no option", "separately"),
        (["--build-arg"], "has no value", "--build-arg=VALUE"),
        (["--label", "--no-cache"], "has no value", ""),
        (["--tag", "a"], "is not supported in", "`tags`"),
        (["-t", "a"], "is not supported in", "`tags`"),
        (["--push"], "is not supported in", "push="),
        (["--platform=linux/arm64"], "is not supported in", "`platform`"),
        (["--netwerk=host"], "no option '--netwerk'", "'network'"),
        (["--build-arg=1A=b"], "invalid name '1A'", "NAME=VALUE"),
        ("--no-cache", "not a list", "['--no-cache']"),
    ],
)
def test_options_that_are_refused(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_options(words)
    assert message in caught.value.message
    assert hint in caught.value.hint


@given(st.lists(st.text(max_size=20), max_size=4))
def test_options_are_taken_or_refused_and_nothing_else(words: list[str]) -> None:
    try:
        found = check_options(words)
    except UsageError:
        return
    assert all(word.startswith("--") for word in found)
    assert check_options(found) == found
    assert os.environ  # nothing was started
