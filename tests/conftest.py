"""Fixtures for tests that need an engine: the engine, started once if none is found, and its images.

With pytest-xdist, these tests run in three groups, each in one worker: the matrix, with other tests that verify images;
tests that use finished images; and all others. The groups are not distributed any further, because tests of a group
share builders and containers, and some of the last count the requests to the engine's registry (see access_log.py).
"""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling, LoadScopeScheduling

from ohbuild.docker.connection import Connection
from ohbuild.engine import control
from ohbuild.engine.find import find
from ohbuild.engine.progress import Reporter
from ohbuild.engine.state import layout
from ohbuild.errors import NoEngine
from ohbuild.locks import held
from tests.engine.baked import Baked, bake

# As the command does (ohbuild.cli.main): the default threshold of 700 objects costs a tenth of the CPU time.
gc.set_threshold(50_000, 20, 20)

# No deadline, because an example may take longer than 0.2 s on a busy machine. `make properties`, which CI runs, has
# more examples than a developer wants to wait for.
hypothesis.settings.register_profile("ci", deadline=None, max_examples=100)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=10)
hypothesis.settings.load_profile("quick")

# The tests are about ohbuild in a shell, and must not write to the summary of the job that runs them.
for _name in ("GITHUB_ACTIONS", "GITLAB_CI", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
    os.environ.pop(_name, None)


_MATRIX = ("tests/engine/test_matrix.py", "tests/engine/test_doctor.py", "tests/engine/test_failures.py")
_IMAGES = (
    "tests/conformance/",
    *(f"tests/engine/test_{name}.py" for name in ("executables", "mcp", "shells", "users", "variables", "vscode")),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests that change the machine to the end. The matrix, which takes longest, is begun first."""
    items.sort(
        key=lambda item: (item.get_closest_marker("exclusive") is not None, not item.nodeid.startswith(_MATRIX[0]))
    )


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
    """Sends each group of the tests that need an engine to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return "matrix" if nodeid.startswith(_MATRIX) else "images" if nodeid.startswith(_IMAGES) else "engine"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Replaces loadscope. The unit tests (``--dist load``) go to the workers by file, so that fixtures are made once.

    pytest-xdist's own groups (loadgroup) have no effect with pytest 9.2.
    """
    schedulers = {"loadscope": ByGroup, "load": LoadFileScheduling}
    kind = schedulers.get(config.getoption("dist"))
    return kind(config, log) if kind else None


@pytest.fixture(scope="session")
def engine() -> Connection:
    """The engine to test with. If none is found, the private engine is started and left running."""
    try:
        return find()
    except NoEngine:
        with Reporter() as reporter:
            return control.up(layout(), reporter)[0]


@pytest.fixture(scope="session")
def own_registry(engine: Connection) -> str:
    """Address (``host:port``) of the engine's own registry."""
    if not engine.registry:
        pytest.skip("your own Docker is used, which has no registry to push to (OHBUILD_ENGINE=ohbuild)")
    return engine.registry


@pytest.fixture(scope="session")
def registry_log(engine: Connection) -> Path:
    """Path of the access log of the engine's registry (Apache's combined format, one line per request)."""
    if engine.registry_log is None:
        pytest.skip("your own Docker is used, which has no registry whose log could be read (OHBUILD_ENGINE=ohbuild)")
    return engine.registry_log


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all workers of this test run."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def emulation_lock(shared_folder: Path) -> Path:
    """The lock of who needs emulation, and of who turns it off."""
    return shared_folder / "emulation.lock"


@pytest.fixture(scope="session")
def baked(engine: Connection, shared_folder: Path) -> Baked:
    """The images of the example settings (ohbuild.toml). The first worker bakes them; the others read its report."""
    return _baked_once(engine, shared_folder / "baked")


@pytest.fixture(scope="session")
def baked_v0(engine: Connection, shared_folder: Path) -> Baked:
    """The same bases with the action execution server, for linux/amd64."""
    words = ("--server", "action-execution-server", "--platform", "linux/amd64")
    return _baked_once(engine, shared_folder / "baked-v0", *words, "--folder", str(shared_folder / "rendered-v0"))


def _baked_once(engine: Connection, place: Path, *words: str) -> Baked:
    report = place.with_suffix(".json")
    with held(place.with_suffix(".lock"), on_wait=lambda: None):
        if not report.exists():
            report.write_text(json.dumps(bake(engine, *words).targets))
    return Baked(json.loads(report.read_text()))
