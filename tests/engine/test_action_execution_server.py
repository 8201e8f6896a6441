"""What the start of the action execution server costs, and that what it imports late is there when it is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ohbuild.docker.connection import Connection
from tests.conformance.container import install
from tests.engine.baked import ROOT, Baked
from tests.engine.runtime import docker, started

FOLDER = Path(__file__).parent / "server"
PYTHON = "/openhands/python/bin/python3.13"
# With agent_skills, Jupyter and VS Code; and with the browser, which starts at its first use. Unmodified OpenHands
# takes 2 and 3.5 to 4 times as long as its imports alone.
START, WITH_BROWSER = 0.8, 1.5
MEGABYTES = 500
ATTEMPTS = 6
# From a virtual environment of the same packages. Prints CPU seconds.
_PLAIN = """
import openhands.runtime.action_execution_server as server, resource
assert server.__file__.startswith("/plain/"), server
spent = resource.getrusage(resource.RUSAGE_SELF)
print(spent.ru_utime + spent.ru_stime)
"""
# Sums of all processes: CPU seconds, and memory of which shared pages count once.
_SPENT = """
import os
cpu = memory = 0
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) != os.getpid():
        try:
            cpu += sum(map(int, open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[11:15]))
            lines = open(f"/proc/{name}/smaps_rollup").read().splitlines()
        except OSError:
            continue
        memory += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
print(cpu / os.sysconf("SC_CLK_TCK"), memory / 1000)
"""


def test_what_is_imported_late_is_there(engine: Connection, baked_v0: Baked) -> None:
    image = baked_v0.image("alpine:3.23")
    docker(engine, "pull", "--quiet", image)
    words = ("run", "--rm", "--volume", f"{FOLDER}:/server:ro", "--entrypoint", PYTHON, image)
    out = docker(engine, *words, "-EPB", "/server/later.py")
    assert json.loads(out.splitlines()[-1]) == {
        "imported": [], "runtime": "DockerRuntime", "names": ["Runtime"], "llm": "LLM",
        "response": ["ModelResponse", "x"], "again": True, "json": "x", "table": [1, 1],
        "readers": ["Presentation", "extract_text", "Recognizer", "Document", "PdfReader"],
        "client": "OpenAI", "iri": [True, False], "store": "LocalFileStore", "quiet": [True, False],
    }  # fmt: skip


@pytest.mark.exclusive
def test_the_server_is_started_cheaply(engine: Connection, baked_v0: Baked) -> None:
    """CPU seconds of all processes, beside those that unmodified OpenHands takes to import its server alone."""
    image = baked_v0.image("alpine:3.23")
    docker(engine, "pull", "--quiet", image)
    site = install(ROOT / ".tools" / "conformance")
    start = browser = memory = float("inf")
    for _ in range(ATTEMPTS):
        mount = f"--volume={site}:/plain:ro"
        words = ("--env=PYTHONPATH=/plain", "--entrypoint", PYTHON, image, "-PBW", "ignore", "-c", _PLAIN)
        plain = float(docker(engine, "run", "--rm", mount, *words).splitlines()[-1])
        with started(engine, image) as server:
            seconds, memory = map(float, server.exec("/openhands/bin/oh-python", "-c", _SPENT).split())
            start = min(start, seconds / plain)
            seen = server.action("browse", url="http://127.0.0.1:8000/alive", return_axtree=False)
            assert "status" in seen["content"], seen
            seconds, _all = map(float, server.exec("/openhands/bin/oh-python", "-c", _SPENT).split())
            browser = min(browser, seconds / plain)
        if start < START and browser < WITH_BROWSER:
            break
    print(f"\n{start:.2f} of {plain:.2f} CPU seconds, with the browser {browser:.2f}; {memory:.0f} MB")
    assert 0.1 < start < START
    assert start < browser < WITH_BROWSER
    assert 100 < memory < MEGABYTES
