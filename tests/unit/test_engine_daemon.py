"""Configuration of the daemons, and checks before they start."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.engine import daemon
from ohbuild.engine.errors import PortTaken
from ohbuild.engine.state import Layout

PLACE = Layout(Path("/srv/engine"), 5007)
GB = 1_000_000_000


def test_dockerd_uses_only_folders_of_ours_and_the_registry_as_mirror() -> None:
    config = daemon.dockerd_config(PLACE, disk=1000 * GB)
    assert config["features"] == {"containerd-snapshotter": True}
    assert config["registry-mirrors"] == ["http://127.0.0.1:5007"]
    assert config["insecure-registries"] == ["localhost:5007", "127.0.0.1:5007"]
    assert config["hosts"] == [f"unix://{PLACE.run}/docker.sock"]
    assert "bridge" not in config
    assert daemon.dockerd_config(PLACE, disk=GB, bridge="ohb-1-1")["bridge"] == "ohb-1-1"
    text = json.dumps(config)
    assert "/var/lib/docker" not in text
    assert "/var/run/docker" not in text


def test_registry_listens_on_loopback_only_and_writes_an_access_log() -> None:
    text = daemon.registry_config(PLACE, "secret")
    assert "addr: 127.0.0.1:5007\n" in text
    assert "rootdirectory: /srv/engine/registry\n" in text
    assert "disabled: false" in text
    assert "htpasswd" not in text


@given(st.integers(min_value=1 * GB, max_value=100_000 * GB))
def test_the_cache_is_bounded_on_any_disk(disk: int) -> None:
    limits = {name: int(text.removesuffix("GB")) for name, text in daemon.cache_limits(disk).items()}
    assert 1 <= limits["defaultReservedSpace"] <= min(30, max(1, disk // GB // 5))
    assert limits["defaultReservedSpace"] < limits["defaultMaxUsedSpace"] <= 80
    assert 1 <= limits["defaultMinFreeSpace"] <= 10


def test_the_cache_limits_of_an_ordinary_disk() -> None:
    assert daemon.cache_limits(252 * GB) == {
        "defaultReservedSpace": "30GB",
        "defaultMaxUsedSpace": "80GB",
        "defaultMinFreeSpace": "10GB",
    }


def test_a_taken_port_is_named_with_its_mend() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # no server accepts connections, and `answers` is replaced so that the test does not wait for one
        taken.settimeout(0)
        with pytest.raises(PortTaken, match=f"port {port} .* taken by another program") as caught:
            daemon.check_port(port, answers=lambda _port: False)
        assert "OHBUILD_ENGINE_REGISTRY_PORT" in caught.value.hint
        with pytest.raises(PortTaken, match="another registry"):
            daemon.check_port(port, answers=lambda _port: True)
    daemon.check_port(port)


def test_a_log_that_grew_too_large_is_cut_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_LOG_LIMIT", 100)
    log = tmp_path / "a.log"
    log.write_text("x" * 95 + "last")
    daemon._cut(log)
    assert log.stat().st_size == 99
    with log.open("a") as writer:  # like a daemon that keeps its log open
        writer.write("end!")
        writer.flush()
        daemon._cut(log)
        writer.write("next")
    assert log.read_text() == "next"
    assert (tmp_path / "a.log.1").read_text().endswith("lastend!")
