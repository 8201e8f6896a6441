"""The engine's paths, the record of its daemons, and its locks."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from ohbuild.engine import state
from ohbuild.engine.state import Layout, Record, layout, lock, read_record, write_record, write_text
from ohbuild.errors import UsageError
from ohbuild.process import Process


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(state, "_RUN", tmp_path / "run")
    return Layout(tmp_path / "state")


def test_defaults_and_variables() -> None:
    assert layout({}) == Layout(Path("/var/lib/ohbuild"), 5000)
    given = layout({"OHBUILD_ENGINE_DIR": "/srv/x/../y/", "OHBUILD_ENGINE_REGISTRY_PORT": "5005"})
    assert given == Layout(Path("/srv/y"), 5005)
    assert given.registry == "localhost:5005"


@pytest.mark.parametrize(
    "folder", ["relative", "/", "/a b", "/a'b", '/a"', "/a\nb", "/usr/lib/x", "/a:b", "/run/ohbuild/x"]
)
def test_a_folder_that_cannot_be_used_is_refused(folder: str) -> None:
    with pytest.raises(UsageError, match="OHBUILD_ENGINE_DIR"):
        layout({"OHBUILD_ENGINE_DIR": folder})


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "5000 ", "٥٠٠٠"])
def test_a_port_that_cannot_be_used_is_refused(port: str) -> None:
    with pytest.raises(UsageError, match="OHBUILD_ENGINE_REGISTRY_PORT"):
        layout({"OHBUILD_ENGINE_REGISTRY_PORT": port})


def test_the_socket_path_is_short_however_long_the_folder() -> None:
    # sun_path (unix(7)) is limited to 108 bytes, and containerd's socket is three folders deeper
    deep = Layout(Path("/" + "/".join(["a" * 50] * 8)))
    assert len(str(deep.run / "exec/containerd/containerd.sock.ttrpc")) < 100
    assert deep.run != Layout(Path("/other")).run


def test_record_comes_back(place: Layout) -> None:
    assert read_record(place) is None
    me = Process.of(os.getpid())
    record = Record(port=5000, dockerd=me, registry=None)
    write_record(place, record)
    assert read_record(place) == record


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"port": 1, "dockerd": {"x": 1}, "registry": null}'])
def test_a_broken_record_is_no_record(place: Layout, text: str) -> None:
    place.run.mkdir(parents=True)
    (place.run / "engine.json").write_text(text)
    assert read_record(place) is None


def test_write_text_leaves_an_equal_file_alone_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a/b"
    write_text(path, "one", mode=0o600)
    before = path.stat()
    assert before.st_mode & 0o777 == 0o600
    write_text(path, "one")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    write_text(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_lets_one_in_and_tells_the_other(place: Layout) -> None:
    order: list[str] = []

    def other() -> None:
        with lock(place, "engine", lambda: order.append("waits")):
            order.append("in")

    with lock(place, "engine"), lock(place, "seed"):
        thread = threading.Thread(target=other)
        thread.start()
        until = time.monotonic() + 15
        while not order and time.monotonic() < until:
            time.sleep(0.001)
        order.append("out")
    thread.join()
    assert order == ["waits", "out", "in"]


def test_json_is_sorted_so_that_an_equal_state_is_an_equal_file(tmp_path: Path) -> None:
    state.write_json(tmp_path / "x.json", {"b": 1, "a": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 2, "b": 1}
    assert (tmp_path / "x.json").read_text().index('"a"') < (tmp_path / "x.json").read_text().index('"b"')
