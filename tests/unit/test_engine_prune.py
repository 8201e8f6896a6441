"""What `ohbuild engine prune` deletes: never anything that a tag needs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.cli import engine as command
from ohbuild.engine import prune
from ohbuild.engine.manifests import Manifest, Repository, Storage, unneeded
from ohbuild.errors import UsageError


def digest(name: str) -> str:
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def descriptor(name: str) -> dict[str, Any]:
    return {"mediaType": "x", "digest": digest(name), "size": 1}


def index(*names: str, **more: Any) -> bytes:
    return json.dumps({"manifests": [descriptor(name) for name in names], **more}).encode()


def image(config: str = "config", **more: Any) -> bytes:
    return json.dumps({"config": descriptor(config), "layers": [], **more}).encode()


class Registry:
    """A registry whose manifests and blobs are named by words instead of their content."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.pushed: dict[str, set[str]] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def push(self, repository: str, name: str, data: bytes, *tags: str) -> None:
        self.blobs[digest(name)] = data
        self.pushed.setdefault(repository, set()).add(digest(name))
        self.tags.setdefault(repository, {}).update(dict.fromkeys(tags, digest(name)))

    def unneeded(self) -> set[tuple[str, str]]:
        repositories = [Repository(name, self.tags[name], frozenset(found)) for name, found in self.pushed.items()]
        return unneeded(repositories, self.blobs.get)


def test_an_overwritten_index_goes_with_its_platforms_and_the_new_one_stays() -> None:
    registry = Registry()
    for name in ("amd64-1", "arm64-1", "amd64-2", "both"):
        registry.push("a", name, image())
    registry.push("a", "first", index("amd64-1", "arm64-1", "both"), "latest")
    registry.push("a", "second", index("amd64-2", "both"), "latest")
    assert registry.unneeded() == {("a", digest(name)) for name in ("first", "amd64-1", "arm64-1")}


def test_nested_indexes_and_referrers_are_needed_and_other_repositories_are_not() -> None:
    registry = Registry()
    registry.push("a", "image", image())
    registry.push("b", "image", image())
    registry.push("a", "inner", index("image"))
    registry.push("a", "outer", index("inner"), "latest")
    registry.push("a", "signature", image(subject=descriptor("outer")))
    registry.push("a", "of the signature", image(subject=descriptor("signature")))
    registry.push("a", "old signature", image(subject=descriptor("gone")))
    assert registry.unneeded() == {("b", digest("image")), ("a", digest("old signature"))}


def test_component_images_are_needed_by_the_images_that_name_them() -> None:
    registry = Registry()
    registry.push("component", "core", image())
    registry.push("component", "tmux", image())
    registry.push("deps", "deps", image("deps config"), "1")
    registry.blobs[digest("deps config")] = json.dumps(
        {"config": {"Labels": {"dev.ohbuild.component-image.core.amd64": f"r:5000/component@{digest('core')}"}}}
    ).encode()
    assert registry.unneeded() == {("component", digest("tmux"))}


def test_a_manifest_that_cannot_be_read_needs_every_digest_in_it() -> None:
    registry = Registry()
    registry.push("a", "child", image())
    registry.push("a", "odd", b'{"manifests": [{"digest": "' + digest("child").encode() + b'"},,]}', "latest")
    assert registry.unneeded() == set()
    # Go's JSON accepts invalid UTF-8
    registry.push("a", "odd", index("child").replace(b"{", b'{"a": "\xff", ', 1), "latest")
    assert registry.unneeded() == set()


def test_a_manifest_whose_blob_is_lost_is_not_needed() -> None:
    registry = Registry()
    registry.push("a", "lost", image(), "latest")
    del registry.blobs[digest("lost")]
    assert registry.unneeded() == {("a", digest("lost"))}


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["manifests", "subject", "config", "digest", "Labels"]), inner)))  # fmt: skip
def test_any_json_is_a_manifest(content: Any) -> None:
    data = json.dumps(content).encode()
    assert isinstance(Manifest.parse(data), Manifest)
    registry = Registry()
    registry.push("a", "odd", data, "latest")
    registry.push("a", "image", image("odd"), "image")
    assert registry.unneeded() == set()


@given(st.data())
def test_exactly_what_no_tag_reaches_is_not_needed(data: st.DataObject) -> None:
    count = data.draw(st.integers(min_value=1, max_value=8))
    lists = [data.draw(st.sets(st.integers(min_value=0, max_value=count - 1))) for _ in range(count)]
    tagged = data.draw(st.sets(st.integers(min_value=0, max_value=count - 1)))
    registry = Registry()
    for number, listed in enumerate(lists):
        content = index(*map(str, sorted(listed)))
        registry.push("a", str(number), content, *([f"tag-{number}"] if number in tagged else []))
    reached, waiting = set(), list(tagged)
    while waiting:
        number = waiting.pop()
        if number not in reached:
            reached.add(number)
            waiting += lists[number]
    assert registry.unneeded() == {("a", digest(str(number))) for number in set(range(count)) - reached}


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_storage_is_read_and_a_manifest_is_deleted_with_its_history(tmp_path: Path) -> None:
    top = tmp_path / "docker/registry/v2"
    old, new = digest("old"), digest("new")
    for name in ("org/a", "org/a/b"):
        place = top / "repositories" / name
        for one in (old, new):
            hexadecimal = one.partition(":")[2]
            put(place / "_manifests/revisions/sha256" / hexadecimal / "link", one)
            put(place / "_manifests/tags/latest/index/sha256" / hexadecimal / "link", one)
            put(top / "blobs/sha256" / hexadecimal[:2] / hexadecimal / "data", "{}")
        put(place / "_manifests/tags/latest/current/link", new + "\n")
        put(place / "_layers/sha256/00/link", "x")
    (top / "repositories/org/c/_uploads").mkdir(parents=True)
    storage = Storage(tmp_path)
    both = frozenset({old, new})
    found = sorted(storage.repositories(), key=lambda one: one.name)
    assert found == [Repository("org/a", {"latest": new}, both), Repository("org/a/b", {"latest": new}, both)]
    assert storage.read(old) == b"{}"
    assert storage.read(digest("other")) is None
    assert unneeded(found, storage.read) == {("org/a", old), ("org/a/b", old)}
    storage.delete(("org/a", old))
    assert not list((top / "repositories/org/a/_manifests").glob(f"**/{old.partition(':')[2]}"))
    by_name = {one.name: one.revisions for one in storage.repositories()}
    assert by_name == {"org/a": frozenset({new}), "org/a/b": both}


def test_what_grew_meanwhile_does_not_count_as_freed() -> None:
    assert prune.freed({"docker": 5, "registry": 9, "logs": 9}, {"docker": 7, "registry": 4}) == {
        "docker": 0,
        "registry": 5,
    }


def test_prune_asks_and_refuses_to_guess(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OHBUILD_ENGINE_DIR", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="standard input is not a terminal") as caught:
        command.prune(yes=False, json_=False)
    assert "--yes" in caught.value.hint
    with pytest.raises(UsageError, match="there is no ohbuild engine in"):
        command.prune(yes=True, json_=False)
