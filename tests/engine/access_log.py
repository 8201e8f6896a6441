"""Reads from a registry's access log (Apache's combined format) which blobs a run has transferred."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_BESIDE = tuple(f"/v2/{name}/" for name in ("matrix", "conformance", "doctor", "failures", "mcp"))
"""Paths of repositories of tests that run at the same time as those that read the log (see conftest.py)."""
_PULLS = ("containerd/", "docker/")
"""User agents of ``docker pull``, by which those tests get the images that they start. BuildKit has one of its own."""
_LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<url>\S+) HTTP/[0-9.]+" (?P<status>\d{3}) \S+ "[^"]*" "(?P<agent>[^"]*)"')


@dataclass(frozen=True)
class Request:
    """A line of the log."""

    method: str
    path: str
    query: dict[str, list[str]]
    status: int

    @property
    def downloaded(self) -> str:
        """Digest of the blob that it downloads; empty if none."""
        return self.path.rpartition("/")[2] if self.method == "GET" and "/blobs/sha256:" in self.path else ""

    @property
    def uploaded(self) -> str:
        """Digest of the blob whose upload it completes; empty if none."""
        ends = self.method in ("PUT", "POST") and "/blobs/uploads/" in self.path and "mount" not in self.query
        return "".join(self.query.get("digest", [])) if ends else ""

    @property
    def mounted(self) -> bool:
        """Whether the registry mounted a blob from another repository."""
        return self.method == "POST" and "mount" in self.query and self.status == 201


@dataclass
class Seen:
    """The requests in a part of the log, available once that part is complete."""

    requests: list[Request] = field(default_factory=list)

    @property
    def uploads(self) -> Counter[str]:
        """Digest → number of uploads."""
        return Counter(request.uploaded for request in self.requests if request.uploaded)

    @property
    def downloads(self) -> set[str]:
        return {request.downloaded for request in self.requests if request.downloaded}

    def __str__(self) -> str:
        mounts = sum(request.mounted for request in self.requests)
        return f"{len(self.requests)} requests, {mounts} mounts, {sum(self.uploads.values())} blobs uploaded"


@contextmanager
def watching(log: Path) -> Iterator[Seen]:
    """Records the requests to the registry within the context, without those of tests that run beside this one."""
    before, seen = log.stat().st_size, Seen()
    yield seen
    time.sleep(0.2)  # the log is written after the response
    with log.open("rb") as stream:
        stream.seek(before)
        for match in _LINE.finditer(stream.read().decode()):
            url = urlsplit(match["url"])
            if url.path.startswith(_BESIDE) or match["agent"].startswith(_PULLS):
                continue
            seen.requests.append(Request(match["method"], url.path, parse_qs(url.query), int(match["status"])))
