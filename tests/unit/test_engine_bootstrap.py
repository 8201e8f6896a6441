"""Building the engine's root: host checks, the mmdebstrap command line, and safe deletion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ohbuild.engine import binfmt, bootstrap, control, errors
from ohbuild.engine.errors import CannotHost, EngineFailed
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import Layout
from ohbuild.errors import ExitCode, UsageError


def test_another_system_gets_told_how_to_get_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(CannotHost, match="Darwin") as caught:
        bootstrap.check_host()
    assert caught.value.exit_code == ExitCode.NO_ENGINE
    assert "docs.docker.com" in caught.value.hint


def test_a_user_gets_told_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/apt-get")
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "debian"})
    with pytest.raises(CannotHost, match="root") as caught:
        bootstrap.check_host()
    assert "sudo ohbuild engine up" in caught.value.hint


@pytest.mark.parametrize("release", [{"ID": "fedora", "PRETTY_NAME": "Fedora 43"}, {"ID": "nixos"}, {}])
def test_another_distribution_gets_told_how_to_get_docker(
    monkeypatch: pytest.MonkeyPatch, release: dict[str, str]
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: release)
    with pytest.raises(CannotHost, match=release.get("PRETTY_NAME", "this system")):
        bootstrap.check_host()


def test_a_root_counts_only_if_it_is_finished_and_the_one_we_would_make(tmp_path: Path) -> None:
    place = Layout(tmp_path)
    assert not bootstrap.is_whole(place)
    (place.root / "usr").mkdir(parents=True)
    assert not bootstrap.is_whole(place)
    recipe = bootstrap.recipe(bootstrap.host_architecture())
    (place.root / "ohbuild-root.json").write_text(json.dumps(recipe))
    assert bootstrap.is_whole(place)
    (place.root / "ohbuild-root.json").write_text(json.dumps({**recipe, "format": 0}))
    assert not bootstrap.is_whole(place)


def test_the_bootstrap_takes_stale_release_files_and_only_two_emulators() -> None:
    words = [str(word) for word in bootstrap.command(Path("/new"), "amd64")]
    assert '--aptopt=Acquire::Check-Valid-Until "false"' in words
    assert words.index("--dpkgopt=path-exclude=/usr/bin/qemu-*") < words.index(
        "--dpkgopt=path-include=/usr/bin/qemu-aarch64"
    )
    assert words[-3:] == ["forky", "/new", bootstrap.MIRROR]


MOUNTS = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:5 / /srv/engine rw - ext4 /dev/vdb rw
31 30 0:6 / /srv/engine/new-1/proc rw - proc proc rw
32 30 0:7 / /srv/engine/with\\040space rw - tmpfs tmpfs rw
33 22 0:8 / /srv/engineer rw - tmpfs tmpfs rw
"""


def test_mounts_below_are_found_but_neither_the_folder_nor_its_namesakes() -> None:
    found = bootstrap.mounts_below(Path("/srv/engine"), MOUNTS)
    assert found == ["/srv/engine/new-1/proc", "/srv/engine/with space"]


def test_nothing_is_deleted_with_a_mount_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()
    monkeypatch.setattr(bootstrap, "mounts_below", lambda folder, _text: [f"{folder}/proc"])
    with pytest.raises(EngineFailed, match="is a mount point"):
        bootstrap.delete_tree(tmp_path)
    assert (tmp_path / "x").exists()


def test_delete_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/x").touch()
    (tmp_path / "go").mkdir()
    (tmp_path / "go/link").symlink_to(tmp_path / "keep")
    bootstrap.delete_tree(tmp_path / "go")
    bootstrap.delete_tree(tmp_path / "go")
    assert not (tmp_path / "go").exists()
    assert (tmp_path / "keep/x").exists()


def test_remove_does_not_touch_a_folder_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "docker").mkdir()
    with pytest.raises(UsageError, match="nothing was deleted"):
        control.remove(Layout(tmp_path), Reporter())
    assert (tmp_path / "docker").exists()
    assert not control.remove(Layout(tmp_path / "none"), Reporter())


def test_up_does_not_move_into_somebody_elses_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis").touch()
    with pytest.raises(UsageError, match="not the folder of an ohbuild engine"):
        control._claim(Layout(tmp_path))
    control._claim(Layout(tmp_path / "new"))
    control._claim(Layout(tmp_path / "new"))


def test_the_binfmt_entry_is_one_line_for_the_right_machine() -> None:
    line = binfmt.entry_line("qemu-aarch64", "arm64", Path("/r/usr/bin/qemu-aarch64"))
    assert line.startswith(r":qemu-aarch64:M::\x7fELF\x02")
    assert line.endswith(":/r/usr/bin/qemu-aarch64:OCF")
    assert r"\x02\x00\xb7\x00:" in line
    magic, mask = line.split(":")[4:6]
    assert len(magic.replace("ELF", r"\x45\x4c\x46")) == len(mask) == 20 * len(r"\x00")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("E: Failed to fetch http://x", "mirror cannot be reached"),
        ("Could not resolve 'x'", "mirror cannot be reached"),
        ("write: No space left on device", "disk is full"),
        ("Could not get lock /var/lib/dpkg/lock", "another apt"),
        ("anything", "fallback"),
    ],
)
def test_what_apt_says_leads_to_a_mend(said: str, advice: str) -> None:
    assert advice in errors.advice(said, "fallback")


def test_a_message_has_the_last_lines_and_the_path_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert errors.with_log("it failed", log) == f"it failed; see {log}"
    log.write_text("one\ntwo\n")
    assert errors.with_log("it failed", log).endswith("x.log:\n    one\n    two")
