from __future__ import annotations

from pathlib import Path

import pytest

from ohbuild.config.settings import Settings, load
from ohbuild.errors import InvalidSetting, OhbuildError, Place, SeveralErrors


def config(text: str, name: str = "ohbuild.toml") -> None:
    Path(name).write_text(text)


def failure(**flags: object) -> OhbuildError:
    with pytest.raises(OhbuildError) as caught:
        load(flags)
    return caught.value


def test_flags_go_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    config('image = "a.b/file"\ncompression = "gzip"\nbuilder = "file"\noutput = "none"\n')
    monkeypatch.setenv("OHBUILD_IMAGE", "a.b/environment")
    monkeypatch.setenv("OHBUILD_BUILDER", "environment")
    found = load({"image": "a.b/flag", "output": None})
    assert str(found.settings.image) == "a.b/flag"
    assert found.settings.builder == "environment"
    assert found.settings.compression == "gzip"
    assert found.origins["image"] == "flag --image"
    assert found.origins["builder"] == "environment OHBUILD_BUILDER"
    assert found.origins["compression"] == "ohbuild.toml:2"
    assert found.origins["output"] == "ohbuild.toml:4"
    assert found.origins["platforms"] == "default"


def test_bases_are_plain_or_tables() -> None:
    config('bases = ["debian:trixie", {image = "alpine:3.23", platforms = ["amd64"]}]\n')
    bases = load().settings.bases
    assert [(str(base.image), [str(p) for p in base.platforms]) for base in bases] == [
        ("debian:trixie", []),
        ("alpine:3.23", ["linux/amd64"]),
    ]


def test_the_example_of_the_project_is_valid() -> None:
    example = Path(__file__).parents[2] / "ohbuild.toml"
    settings = load(config=example).settings
    assert [str(base.image) for base in settings.bases] == ["debian:trixie", "alpine:3.23"]


def test_pyproject_is_read_where_there_is_no_file_of_ours() -> None:
    config('[tool.other]\nbuilder = "x"\n\n[tool.ohbuild]\nbuilder = "there"\n', "pyproject.toml")
    found = load()
    assert found.settings.builder == "there"
    assert found.origins["builder"] == "pyproject.toml:5"
    config("")
    assert load().settings.builder == ""


def test_lists_from_the_environment_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHBUILD_PLATFORMS", "linux/amd64,arm64")
    monkeypatch.setenv("OHBUILD_BASES", "debian:trixie, alpine:3.23")
    monkeypatch.setenv("OHBUILD_LABELS", '{"a": "b"}')
    settings = load().settings
    assert [str(platform) for platform in settings.platforms] == ["linux/amd64", "linux/arm64"]
    assert [str(base.image) for base in settings.bases] == ["debian:trixie", "alpine:3.23"]
    assert settings.labels == {"a": "b"}


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    config('# a comment\nplatfroms = ["linux/amd64"]\n')
    error = failure()
    assert error.message == "ohbuild.toml:2: unknown setting 'platfroms'"
    assert error.hint == "perhaps you meant 'platforms'"
    assert error.place == Place("ohbuild.toml", 2)


def test_a_misspelt_variable_is_told_and_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHBUILD_UNRELATED_THING", "1")
    monkeypatch.setenv("OHBUILD_ENGINE_DIR", "/x")
    load()
    monkeypatch.setenv("OHBUILD_PLATFORM", "linux/amd64")
    assert "perhaps you meant 'OHBUILD_PLATFORMS'" in failure().hint


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('image = "a.b/c"\nbuilder = \n', "ohbuild.toml:2:11: Invalid value"),
        ('image = "a', "ohbuild.toml:1:11: "),
        ("image = 'a'\nimage = 'b'\n", "ohbuild.toml:2:12: Cannot overwrite a value"),
    ],
)
def test_bad_toml_is_told_with_line_and_column(text: str, where: str) -> None:
    config(text)
    error = failure()
    assert error.message.startswith(where)
    assert error.place == Place("ohbuild.toml", int(where.split(":")[1]))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('platforms = ["linux/amd65"]', "unknown architecture 'amd65'", "perhaps you meant 'amd64'"),
        ('bases = ["Debian"]', "invalid repository name", "perhaps you meant 'debian'"),
        (
            'bases = [{image = "a", plaforms = []}]',
            "bases #1: unknown key 'plaforms'",
            "perhaps you meant 'platforms'",
        ),
        ('image = "a/b:tag"', "has a tag or a digest", ""),
        ('output = "fly"', "output: Input should be 'auto', 'push', 'load' or 'none'", ""),
        ('cache_to = "Bad Ref"', "is not an image reference", ""),
        (
            'debian_snapshot = "http://snapshot.debian.org/archive/debian"',
            "is not a dated Debian archive",
            "write it as http://snapshot.debian.org/archive/debian/2",
        ),
        ('debian_snapshot = "http://u:p@a.b/debian/20261101T000000Z"', "is not a dated Debian archive", ""),
        ('cache_from = ["http://x/y"]', "is a URL", ""),
        (
            'cache_to = "type=registry,ref=x"',
            "toml:2: cache_to: 'type=registry,ref=x' uses buildx's",
            "reference alone",
        ),
        ('builder = "--push"', "is not a valid builder name", ""),
        ('labels = {"a b" = "c"}', "is not a valid label name", ""),
        ('labels = {"dev.ohbuild.key" = "c"}', "is not a valid label name", ""),
        ("source_date_epoch = -1", "greater than or equal to 0", ""),
        ("bases = 3", "bases: expected a list", ""),
        ("bases = [3]", "bases #1: expected a table", ""),
        ('kubernetes = "x"', "kubernetes: expected a table", ""),
        ("[kubernetes]\n[kubernetes.limits]\nmemory = '8GB'", "ohbuild.toml:4: kubernetes.limits.memory: '8GB' is", ""),
        ("deps_image = {path = 'x'}", "deps_image: expected an image reference", "a string such as"),
        ("platforms = [{system = 'linux'}]", "platforms: expected a list of platforms", "a list such as"),
    ],
)
def test_a_wrong_value_is_told_with_file_and_line(text: str, message: str, hint: str) -> None:
    config(f"\n{text}\n")
    error = failure()
    assert isinstance(error, InvalidSetting)
    assert message in error.message
    assert hint in error.hint
    assert error.message.startswith(f"{error.place}: ")


def test_a_file_that_is_not_utf8_is_told_with_its_line() -> None:
    Path("ohbuild.toml").write_bytes(b'# one\nimage = "\xff"\n')
    error = failure()
    assert (error.message, error.place) == ("ohbuild.toml: not UTF-8 at byte 15", Place("ohbuild.toml", 2))


def test_all_wrong_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config('platforms = ["amd65"]\nimage = "UP/x"\n')
    monkeypatch.setenv("OHBUILD_COMPRESSION", "rar")
    error = failure()
    assert isinstance(error, SeveralErrors)
    assert len(error.errors) == 3


def test_a_missing_file_that_was_named_is_an_error() -> None:
    with pytest.raises(InvalidSetting, match=r"nowhere\.toml: No such file"):
        load(config=Path("nowhere.toml"))


def test_bad_json_in_a_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHBUILD_LABELS", "{a")
    error = failure()
    assert "OHBUILD_LABELS" in error.message
    assert error.place is None


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_build_image_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHBUILD_BUILD_IMAGE", "a.b/build:1")
    assert str(load().settings.build_image) == "a.b/build:1"


@pytest.mark.parametrize("root", ["https://snapshot.debian.org/archive/debian", "http://[::1]:8080/a-b/debian"])
def test_a_dated_archive_may_be_anywhere(root: str) -> None:
    config(f'debian_snapshot = "{root}/20261101T000000Z/"')
    assert load().settings.debian_snapshot == f"{root}/20261101T000000Z/"
