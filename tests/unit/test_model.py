from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.errors import InvalidPlatform, InvalidReference
from ohbuild.images.platform import Platform, parse_platforms
from ohbuild.images.reference import ImageRef

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/i386", "linux/386"),
        (" linux/s390x ", "linux/s390x"),
        ("macos/arm64", "darwin/arm64"),
    ],
)
def test_platforms_are_normalised(text: str, normal: str) -> None:
    assert str(Platform.parse(text)) == normal


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("linux/amd65", "perhaps you meant 'amd64'"),
        ("linux/arch64", "perhaps you meant 'aarch64'"),
        ("linx/amd64", "perhaps you meant 'linux'"),
        ("linux/quantum", "known: amd64"),
        ("linux/", "os/architecture"),
        ("", "os/architecture"),
        ("a/b/c/d", "os/architecture"),
        ("linux/arm64/next", "v7"),
    ],
)
def test_an_unknown_platform_names_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(InvalidPlatform) as caught:
        Platform.parse(text)
    assert hint in caught.value.hint


def test_platform_lists_take_commas_and_repetition() -> None:
    platforms = parse_platforms(["linux/amd64,linux/arm64", "x86_64", ""])
    assert [str(platform) for platform in platforms] == ["linux/amd64", "linux/arm64"]


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian"),
        ("debian:trixie", "docker.io/library/debian:trixie", "debian:trixie"),
        ("docker.io/library/debian:trixie", "docker.io/library/debian:trixie", "debian:trixie"),
        ("index.docker.io/debian:trixie", "docker.io/library/debian:trixie", "debian:trixie"),
        ("a/b", "docker.io/a/b:latest", "a/b"),
        ("localhost/a", "localhost/a:latest", "localhost/a"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        (f"ghcr.io/x/y@{DIGEST}", f"ghcr.io/x/y@{DIGEST}", f"ghcr.io/x/y@{DIGEST}"),
        (f"[::1]:5000/x:1@{DIGEST}", f"[::1]:5000/x:1@{DIGEST}", f"[::1]:5000/x:1@{DIGEST}"),
        (
            "swebench/sweb.eval.x86_64.a_1776_b-1:latest",
            "docker.io/swebench/sweb.eval.x86_64.a_1776_b-1:latest",
            "swebench/sweb.eval.x86_64.a_1776_b-1:latest",
        ),
        ("a--b/c__d:V1", "docker.io/a--b/c__d:V1", "a--b/c__d:V1"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, canonical: str, familiar: str) -> None:
    reference = ImageRef.parse(text)
    assert reference.canonical == canonical
    assert str(reference) == familiar


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Debian:trixie", "perhaps you meant 'debian:trixie'"),
        ("UPPER/case:1", "perhaps you meant 'upper/case:1'"),
        ("ghcr.io/Me/It", "perhaps you meant 'ghcr.io/me/it'"),
        ("https://ghcr.io/x/y", "://"),
        ("a//b", "empty part"),
        ("a:", "tag"),
        ("a:b:c", "tag"),
        ("a:-b", "tag"),
        ("a:" + "x" * 129, "128"),
        ("a@sha256:123", "digest"),
        ("a@sha256:" + "A" * 64, "64"),
        (" a", "spaces"),
        ("a b", "spaces"),
        ("", "spaces"),
        ("a\n", "spaces"),
        ("a_-b", "lowercase letters"),
        ("localhost:port/a", "host:port"),
        ("-x.y/a", "host"),
        ('a"b', "lowercase letters"),
        ("a${b}", "lowercase letters"),
        ("%{a}", "lowercase letters"),
        ("scratch", "operating system"),
        ("a" * 300, "shorten"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(text: str, hint: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        ImageRef.parse(text)
    assert hint in caught.value.hint


_word = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,2}", fullmatch=True)
_host = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,5}[a-zA-Z0-9])?(\.[a-z0-9]{1,5}){1,2}(:[0-9]{1,5})?", fullmatch=True)
_ipv6 = st.from_regex(r"\[[0-9a-f]{0,4}:[0-9a-f:]{1,34}\](:[0-9]{1,5})?", fullmatch=True)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)


@st.composite
def references(draw: st.DrawFn) -> str:
    text = "/".join(draw(st.lists(_word, min_size=1, max_size=3)))
    host = draw(st.one_of(st.just(""), st.just("localhost:5000"), _host, _ipv6))
    text = f"{host}/{text}" if host else text
    tag = draw(st.one_of(st.just(""), _tag))
    digest = draw(st.sampled_from(["", f"@{DIGEST}"]))
    return text + (f":{tag}" if tag else "") + digest


@given(references())
def test_valid_references_survive_a_round_trip(text: str) -> None:
    try:
        reference = ImageRef.parse(text)
    except InvalidReference as error:
        assert any(part in error.message for part in ("longer than", "scratch", "registry host"))  # noqa: PT017
        return
    again = ImageRef.parse(str(reference))
    assert again == reference
    assert ImageRef.parse(reference.canonical).canonical == reference.canonical


@given(st.one_of(st.text(), st.text(alphabet="aA0:/@.-_${}%\"'\\ \n")))
def test_what_is_taken_has_only_harmless_characters(text: str) -> None:
    try:
        reference = ImageRef.parse(text)
    except InvalidReference as error:
        assert error.message  # noqa: PT017
        return
    assert re.fullmatch(r"[A-Za-z0-9:/@._\[\]-]+", str(reference))


@given(references(), references())
def test_slugs_are_tags_and_differ_where_images_differ(one: str, two: str) -> None:
    try:
        first, second = ImageRef.parse(one), ImageRef.parse(two)
    except InvalidReference:
        return
    for reference in (first, second):
        slug = reference.slug()
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", slug)
        assert len(slug) <= 100
    assert (first.slug() == second.slug()) == (first.canonical == second.canonical)


def test_slugs_that_look_alike_differ() -> None:
    alike = ["a/b:c", "a-b:c", "a:b-c", "docker.io/a/b:c", "a.b/c", "ghcr.io/a-b:c", "ghcr.io/a/b:c"]
    slugs = {ImageRef.parse(text).canonical: ImageRef.parse(text).slug() for text in alike}
    assert len(set(slugs.values())) == len(slugs) == 6
    assert ImageRef.parse("debian:trixie").slug() == "debian-trixie"
    assert ImageRef.parse("docker.io/library/alpine:3.23").slug() == "alpine-3.23"
    assert ImageRef.parse("python").slug() == "python-latest"
    assert re.fullmatch(r"1-5000-x-y-latest-[0-9a-f]{8}", ImageRef.parse("[::1]:5000/x/y").slug())
