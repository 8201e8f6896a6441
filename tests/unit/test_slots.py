"""Slots limit concurrency across threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ohbuild.errors import Interrupted, UsageError
from ohbuild.locks import slot, slots_folder


def never() -> bool:
    return False


def test_no_more_than_so_many_threads(tmp_path: Path) -> None:
    lock = threading.Lock()
    inside = most = done = 0

    def work() -> None:
        nonlocal inside, most, done
        with slot(tmp_path, 3, never):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with lock:
                inside -= 1
                done += 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (3, 12)


def test_other_processes_count_and_a_dead_one_gives_its_place_back(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ohbuild.locks import slot\n"
        "with slot(Path(sys.argv[1]), 1, lambda: False):\n    print('in', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        end = time.monotonic() + 0.3
        with pytest.raises(Interrupted), slot(tmp_path, 1, lambda: time.monotonic() > end):
            pass
        process.kill()
        process.wait()
        with slot(tmp_path, 1, never):
            pass


def test_who_is_to_stop_gets_no_place(tmp_path: Path) -> None:
    with pytest.raises(Interrupted), slot(tmp_path, 1, lambda: True):
        pass
    assert not (tmp_path / "0").exists()


def test_each_key_has_its_own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, two = slots_folder("a"), slots_folder("b")
    assert one != two
    assert one == slots_folder("a")
    assert (tmp_path / f"ohbuild-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_another_has_put_there_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"ohbuild-{os.getuid()}").symlink_to("elsewhere")
    with pytest.raises(UsageError, match="is not a folder that you own"):
        slots_folder("a")
