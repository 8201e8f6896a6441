"""The generated page of settings is what the code says."""

from __future__ import annotations

from ohbuild.config.flags import FLAGS
from ohbuild.config.settings import Settings
from tests import reference


def test_the_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run `make reference`"


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_flag_gives_a_setting_that_there_is() -> None:
    assert {flag.setting for flag in FLAGS.values()} - {""} <= set(Settings.model_fields)
