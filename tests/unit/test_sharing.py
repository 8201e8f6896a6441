"""A builder that several use by the same name is removed by the last of them, if one of them made it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ohbuild.builders.sharing import Share
from ohbuild.errors import Interrupted


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def share() -> Share:
    taken = Share("builder")
    taken.begin(lambda: False)
    return taken


def ends(share: Share, *, made: bool = False, identity: str = "one") -> bool:
    """Ends a share and returns whether it removed the builder."""
    removed: list[bool] = []
    share.end(made=made, identity=identity, remove=lambda: removed.append(True))
    return bool(removed)


def test_the_only_user_removes_what_it_made() -> None:
    assert ends(share(), made=True)
    assert not ends(share())


def test_the_last_user_removes_it() -> None:
    maker, second, third = share(), share(), share()
    assert not ends(maker, made=True)
    assert not ends(second)
    assert ends(third)
    assert not ends(share()), "it is gone, and the next one of this name was made by somebody else"


def test_users_go_before_the_maker() -> None:
    maker, second = share(), share()
    assert not ends(second)
    assert ends(maker, made=True)


def test_a_builder_of_the_same_name_is_another_one() -> None:
    maker, second = share(), share()
    ends(maker, made=True, identity="one")
    assert not ends(second, identity="another")
    assert not ends(share(), identity="one"), "what is not there anymore is forgotten"


def test_a_share_ends_once() -> None:
    maker = share()
    assert ends(maker, made=True)
    assert not ends(maker, made=True)


def test_nobody_comes_while_it_is_removed() -> None:
    maker, stopped = share(), threading.Event()
    waits = iter([False, False, False, True])

    def remove() -> None:
        def another() -> None:
            with pytest.raises(Interrupted):
                Share("builder").begin(lambda: next(waits))
            stopped.set()

        threading.Thread(target=another).start()
        assert stopped.wait(10)

    maker.end(made=True, identity="", remove=remove)
    assert not [*waits]
    assert not ends(share())
