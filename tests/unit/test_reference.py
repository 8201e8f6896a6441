"""What is generated from the settings and flags is up to date and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohbuild.config.descriptions import DESCRIPTIONS
from ohbuild.config.flags import FLAGS
from ohbuild.config.settings import Settings
from tests import reference


def test_the_files_are_up_to_date() -> None:
    assert reference.main(["--check"]) is None


def test_a_stale_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reference, "SCHEMA", tmp_path / "other.json")
    assert reference.main(["--check"]) == "other.json out of date: run `make reference`"
    reference.SCHEMA.write_text(reference.schema().replace("zstd", "zstd2"))
    assert reference.main(["--check"]) is not None
    reference.main([])
    assert reference.main(["--check"]) is None


def test_every_setting_has_its_description() -> None:
    assert {name: field.description for name, field in Settings.model_fields.items()} == DESCRIPTIONS


def test_every_flag_gives_a_setting_that_exists() -> None:
    assert {flag.setting for flag in FLAGS.values()} - {""} <= set(Settings.model_fields)


def test_a_flag_says_what_its_setting_says_unless_it_gives_a_fixed_value() -> None:
    own = {name for name, flag in FLAGS.items() if flag.setting and flag.about}
    assert own == {"bases", *(name for name, flag in FLAGS.items() if flag.value is not None)}
    assert all(flag.help.startswith(DESCRIPTIONS[flag.setting]) for flag in FLAGS.values() if not flag.about)
    assert all(flag.about or flag.setting for flag in FLAGS.values())
