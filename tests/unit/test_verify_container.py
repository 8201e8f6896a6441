"""Actions sent to the server of a container, tested with a server on loopback that responds as OpenHands does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ohbuild.docker.client import CommandFailed
from ohbuild.images.platform import Platform
from ohbuild.verify import clients
from ohbuild.verify.clients import ActionExecutionServer
from ohbuild.verify.container import Running
from ohbuild.verify.model import Subject, mode_named

SUBJECT = Subject(label="x", reference="x", platform=Platform("linux", "arm64"), mode=mode_named("default"))


@contextmanager
def server(content: str, **metadata: object) -> Iterator[tuple[Running, list[dict[str, Any]]]]:
    """Yields a container whose server responds to every action in the same way, and the actions it receives."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["action"])
            answer = json.dumps({"content": content, "extras": {"metadata": metadata}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        client = ActionExecutionServer(f"http://127.0.0.1:{listening.server_port}", "", 10)
        yield (
            Running(docker=None, subject=SUBJECT, image={}, config={}, container="c", factor=10, server=client),  # type: ignore[arg-type]
            asked,
        )
        listening.shutdown()


def test_a_command_may_be_silent_for_as_long_as_an_action_may_take() -> None:
    """Under emulation on a busy machine, pip printed nothing for more than OpenHands' ten seconds."""
    with server("done\n", exit_code=0) as (running, asked):
        assert running.shell("sleep 11; echo done") == "done\n"
    (action,) = asked
    assert action["args"]["blocking"] is True
    assert action["timeout"] == clients.ACTION_SECONDS * 10


def test_why_there_is_no_exit_code_is_told() -> None:
    suffix = "\n[The command timed out after 1200.0 seconds. You may wait longer.]"
    with server("", exit_code=-1, suffix=suffix) as (running, _), pytest.raises(CommandFailed) as failed:
        running.shell("sleep 10000")
    assert "[The command timed out after 1200.0 seconds." in str(failed.value)


def test_the_last_line_of_a_failed_command_is_told() -> None:
    suffix = "\n[The command completed with exit code 2.]"
    with server("one\ntwo\n", exit_code=2, suffix=suffix) as (running, _), pytest.raises(CommandFailed) as failed:
        running.shell("false")
    assert str(failed.value) == "in the agent's shell: two (exit code 2)"
