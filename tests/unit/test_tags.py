"""Tags are valid, complete and deterministic, and equal to OpenHands' where those are correct."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ohbuild.errors import InvalidReference, InvalidSetting
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.openhands.tags import (
    REPOSITORY_VARIABLE,
    ImageContent,
    get_runtime_image_repo,
    get_runtime_image_repo_and_tag,
    get_tag_for_versioned_image,
    make_tags,
    truncate_hash,
)

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
DIGEST = "sha256:" + "a" * 64

_PARTS = st.from_regex(r"[a-z0-9]{1,12}(?:(?:[._]|__|-{1,2})(?:[a-z0-9]{1,8}|s|t|tag)){0,3}", fullmatch=True)
_NAMES = st.lists(_PARTS, min_size=1, max_size=3).map("/".join)
_REGISTRIES = st.sampled_from(
    ["", "localhost:5000/", "localhost/", "ghcr.io/", "registry.example.com:8443/", "[::1]:5000/"]
)
_TAGS = st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True))
_DIGESTS = st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64).map("@sha256:{}".format))


def _is_reference(text: str) -> bool:
    """Filters invalid references: a first component with a dot is a host, which must not contain ``_``."""
    try:
        ImageRef.parse(text)
    except InvalidReference:
        return False
    return True


BASES = st.builds("{}{}{}{}".format, _REGISTRIES, _NAMES, _TAGS, _DIGESTS).filter(_is_reference)
_TEXTS = st.text(max_size=12)
_MAPS = st.dictionaries(_TEXTS, _TEXTS, max_size=3)
_SETS = st.lists(st.sampled_from(["agent_skills", "jupyter", "vscode", "own"]), unique=True, max_size=4).map(tuple)
CONTENTS: st.SearchStrategy[ImageContent] = st.builds(
    ImageContent,
    base=BASES.map(ImageRef.parse),
    digest=st.sampled_from(["", DIGEST, "sha256:" + "b" * 64]),
    platforms=st.lists(st.sampled_from([AMD64, ARM64]), unique=True, max_size=2).map(tuple),
    components=_MAPS,
    plugins=st.none() | _SETS,
    enable_browser=st.booleans(),
    extra_deps=_TEXTS,
    build_args=_MAPS,
    extra_build_args=st.lists(_TEXTS, max_size=3).map(tuple),
    deps_image=st.sampled_from(["", "localhost:5000/ohbuild/deps@" + DIGEST]),
    locks=_MAPS,
    source=_TEXTS,
)
EXAMPLE = ImageContent(base=ImageRef.parse("debian:trixie"), platforms=(AMD64,), components={"core": "1"}, source="key")


def normal(content: ImageContent) -> Any:
    """Returns a content in a normal form: equal for contents that must have the same tags."""
    return replace(
        content,
        base=ImageRef.parse(content.base.pinned(content.digest or content.base.digest).canonical),
        digest="",
        platforms=tuple(sorted(content.platforms)),
        plugins=None if content.plugins is None else tuple(sorted(content.plugins)),
    )


@given(CONTENTS)
def test_tags_are_valid_and_the_same_every_time(content: ImageContent) -> None:
    tags = make_tags(content)
    assert tags == make_tags(replace(content))
    for tag in (tags.source, tags.lock, tags.versioned):
        assert TAG.fullmatch(tag), tag
        assert tag.startswith("oh_v1.6.0_")
    assert re.fullmatch(r"oh_v1\.6\.0_[0-9a-z]{16}", tags.lock)
    assert re.fullmatch(re.escape(tags.lock) + r"_[0-9a-z]{16}", tags.source)


@given(CONTENTS, CONTENTS)
def test_different_contents_never_share_a_tag(one: ImageContent, other: ImageContent) -> None:
    assume(normal(one) != normal(other))
    assert make_tags(one).source != make_tags(other).source
    if normal(replace(one, source="")) != normal(replace(other, source="")):
        assert make_tags(one).lock != make_tags(other).lock


@pytest.mark.parametrize(
    "change",
    [
        {"base": ImageRef.parse("debian:bookworm")},
        {"base": ImageRef.parse("localhost:5000/debian:trixie")},
        {"platforms": (ARM64,)},
        {"platforms": (AMD64, ARM64)},
        {"components": {"core": "1", "tmux": "3.5a"}},
        {"plugins": ()},
        {"plugins": ("jupyter",)},
        {"enable_browser": False},
        {"extra_deps": "pip install numpy"},
        {"build_args": {"A": "1"}},
        {"extra_build_args": ("--network=host",)},
        {"deps_image": "localhost:5000/ohbuild/deps@" + DIGEST},
        {"openhands": "1.5.0"},
    ],
)
def test_what_upstream_forgets_is_in_every_tag(change: dict[str, Any]) -> None:
    one, other = make_tags(EXAMPLE), make_tags(replace(EXAMPLE, **change))
    assert one.source != other.source
    assert one.lock != other.lock
    assert one.versioned != other.versioned


@pytest.mark.parametrize(
    "change", [{"digest": DIGEST}, {"locks": {"poetry.lock": "1"}}, {"components": {"core": "2"}}, {"version": "0"}]
)
def test_the_versioned_tag_moves(change: dict[str, Any]) -> None:
    one, other = make_tags(EXAMPLE), make_tags(replace(EXAMPLE, **change))
    assert one.versioned == other.versioned
    assert one.lock != other.lock


def test_another_source_has_the_same_lock() -> None:
    one, other = make_tags(EXAMPLE), make_tags(replace(EXAMPLE, source="another key"))
    assert (one.lock, one.versioned) == (other.lock, other.versioned)
    assert one.source != other.source


@given(CONTENTS, st.randoms())
def test_the_order_of_sets_is_no_matter(content: ImageContent, random: Any) -> None:
    def mixed(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(values, len(values)))

    other = replace(
        content,
        platforms=mixed(content.platforms) * 2,
        plugins=None if content.plugins is None else mixed(content.plugins) * 2,
        components=dict(mixed(tuple(content.components.items()))),
        build_args=dict(mixed(tuple(content.build_args.items()))),
        locks=dict(mixed(tuple(content.locks.items()))),
    )
    assert make_tags(other) == make_tags(content)


def test_a_digest_that_was_given_and_one_that_was_found_are_one() -> None:
    given_ = ImageContent(base=ImageRef.parse(f"debian:trixie@{DIGEST}"))
    found = ImageContent(base=ImageRef.parse("debian:trixie"), digest=DIGEST)
    assert make_tags(given_).source == make_tags(found).source


def test_the_versioned_tag_tells_the_base() -> None:
    assert make_tags(EXAMPLE).versioned.startswith("oh_v1.6.0_debian-trixie_")


# Results of openhands.runtime.utils.runtime_build 1.6.0; tests/conformance compares with OpenHands itself.
THEIRS = {
    "debian:trixie": "oh_v1.6.0_image_debian_tag_trixie",
    "debian": "oh_v1.6.0_image_debian_tag_latest",
    "debian:Trixie": "oh_v1.6.0_image_debian_tag_Trixie",
    "ghcr.io/org/image:1": "oh_v1.6.0_image_ghcr.io_s_org_s_image_tag_1",
    "nikolaik/python-nodejs:python3.12-nodejs22-slim": (
        "oh_v1.6.0_image_nikolaik_s_python-nodejs_tag_python3.12-nodejs22-slim"
    ),
}


@pytest.mark.parametrize(("base", "tag"), THEIRS.items())
def test_ordinary_bases_have_openhands_own_tag(base: str, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REPOSITORY_VARIABLE, raising=False)
    assert get_runtime_image_repo_and_tag(base) == ("ghcr.io/openhands/runtime", tag)


def test_long_names_have_openhands_own_tag() -> None:
    name = "registry.example.com/a-long-name/of-an-image"
    head = hashlib.md5(name[:-24].encode()).hexdigest()[:8]
    kept = name[-24:].replace("/", "_s_")
    assert get_runtime_image_repo_and_tag(f"{name}:1")[1] == f"oh_v1.6.0_image_{head}_{kept}_tag_1"
    whole = "oh_v1.6.0_image_debian_tag_" + "x" * 128
    assert get_runtime_image_repo_and_tag("debian:" + "x" * 128)[1] == (
        "oh_v1.6.0_image_" + hashlib.md5(whole.encode()).hexdigest()
    )


@given(BASES)
def test_every_base_has_a_valid_tag(base: str) -> None:
    assert TAG.fullmatch(get_runtime_image_repo_and_tag(base)[1])
    piece = get_tag_for_versioned_image(base)
    assert TAG.fullmatch(f"oh_v1.6.0_{piece}")
    assert len(piece) <= 96
    assert piece == piece.lower()


@given(BASES, BASES)
@example("a/b:1", "a_s_b:1")
@example("a_s/b:1", "a/s_b:1")
@example("x:y_tag_z", "x_tag_y:z")
@example("x_tag:1", "x:tag_1")
@example("x/y:1", "x/y_t_1")
@example("x:Y", "x:y")
@example(f"x@{DIGEST}", "x")
def test_two_bases_never_share_a_tag(one: str, other: str) -> None:
    assume(ImageRef.parse(one).canonical != ImageRef.parse(other).canonical)
    assert get_runtime_image_repo_and_tag(one) != get_runtime_image_repo_and_tag(other)
    assert get_tag_for_versioned_image(one) != get_tag_for_versioned_image(other)


def test_what_is_cut_off_counts() -> None:
    long = "a" * 60 + "/" + "b" * 60
    assert get_tag_for_versioned_image(f"one/{long}") != get_tag_for_versioned_image(f"two/{long}")


@pytest.mark.parametrize("base", ["localhost:5000/a/b:c", "localhost:5000/a/b", f"debian@{DIGEST}", "[::1]:5000/a"])
def test_a_port_or_a_digest_is_not_taken_for_a_tag(base: str) -> None:
    """OpenHands' function fails, or returns a tag that registries reject."""
    repository, tag = get_runtime_image_repo_and_tag(base)
    assert repository == get_runtime_image_repo()
    assert TAG.fullmatch(tag)


def test_a_runtime_image_is_one_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPOSITORY_VARIABLE, "localhost:5000/my/runtime")
    assert get_runtime_image_repo_and_tag("localhost:5000/my/runtime:x") == ("localhost:5000/my/runtime", "x")
    assert get_runtime_image_repo_and_tag("localhost:5000/my/runtime") == ("localhost:5000/my/runtime", "latest")
    # The repository must match as a whole, not only as a prefix.
    assert get_runtime_image_repo_and_tag("localhost:5000/my/runtime-base:x")[1].startswith("oh_v1.6.0_image_")


@pytest.mark.parametrize("value", ["UPPER/case", "localhost:5000/a:1", "a b"])
def test_a_repository_that_is_none_is_told(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPOSITORY_VARIABLE, value)
    with pytest.raises(InvalidSetting, match=REPOSITORY_VARIABLE):
        get_runtime_image_repo()


def test_no_reference_no_tag() -> None:
    for function in (get_runtime_image_repo_and_tag, get_tag_for_versioned_image):
        with pytest.raises(InvalidReference):
            function("UPPER/case:1")


@given(st.integers(min_value=1, max_value=2**256))
def test_truncate_hash(value: int) -> None:
    digits = truncate_hash(f"{value:x}")
    assert int(digits[::-1], 36) == value % 36**16
    assert len(digits) <= 16
