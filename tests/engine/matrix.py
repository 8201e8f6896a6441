"""The matrix: bases and ways to start them, each tested against every point of the contract.

``python -m tests.engine.matrix`` (``make matrix``) runs all of it and writes the table to docs/verify.md.
``test_matrix.py`` asserts every cell.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from ohbuild.components.builtin import BUILTIN
from ohbuild.components.checks import Check
from ohbuild.components.choice import ACTION_EXECUTION_SERVER, AGENT_SERVER, BOTH, choose, servers_of
from ohbuild.components.component import Component
from ohbuild.docker.client import Docker
from ohbuild.docker.connection import Connection
from ohbuild.engine.find import find
from ohbuild.images.platform import Platform
from ohbuild.images.reference import ImageRef
from ohbuild.locks import held
from ohbuild.verify.model import State, Subject, mode_named
from ohbuild.verify.points import LAST, POINTS, point_names, promises
from ohbuild.verify.run import Verdict, verify_all
from tests.engine.baked import ROOT, Baked, bake
from tests.engine.bases import ensure, registry_of

PAGE = ROOT / "docs" / "verify.md"
BEGIN, END = "<!-- matrix: begin, written by `make matrix` -->", "<!-- matrix: end -->"
PYTHON = "/openhands/bin/oh-python"
_EMULATED_PLATFORM = "linux/arm64"
_EMULATED = "QEMU is in every process's maps"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A base that is started in one way.

    Attributes:
        name: Short name for the table.
        base: ``debian:…``, ``alpine:…`` or a folder in ``bases/``.
        what: Description for the page, in one line.
        mode: Name of the mode that it is started in.
        options: Options for ``docker run``, in addition to the mode's.
        platform: Platform of the image.
        server: The servers that the image has, as in the setting ``server``.
        without: Points that do not apply, with reasons.
        extra: Checks specific to the base, which run like a component's checks.
    """

    name: str
    base: str
    what: str
    mode: str = "default"
    options: tuple[str, ...] = ()
    platform: str = "linux/amd64"
    server: str = AGENT_SERVER
    without: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[Check, ...] = ()

    @property
    def points(self) -> tuple[str, ...]:
        """The points that it is tested against."""
        running = ACTION_EXECUTION_SERVER if self.mode == "openhands" else servers_of(self.server)[0]
        there = {item.name for item in components_of(self.server)}
        theirs = {point.name for point in (*POINTS, LAST) if not point.servers or running in point.servers}
        names = [*(name for name in point_names() if name in theirs | there | {"server", "closure"})]
        return tuple(name for name in (*names, *(["special"] if self.extra else [])) if name not in self.without)


_HOSTILE_BASE = """
import os, poison, sys
assert poison.WHO == "the base's PYTHONPATH"
assert sys.executable.startswith("/usr/bin/") and sys.prefix == "/usr", (sys.executable, sys.prefix)
maps = open("/proc/self/maps").read()
assert "/opt/hostile/lib/libz.so.1" in maps, "LD_PRELOAD does not reach the base's python3"
print("the base sees its own")
"""
_NOT_STALE = """
import importlib.util, os
paths = ["bin/stale-tool", "bin/ls", "lib/libstale.so.1", "python/lib/python3/dist-packages/stale.py",
         "python/lib/python3/dist-packages/stale.pth"]
shown = [path for path in paths if os.path.lexists("/openhands/" + path)]
assert not shown, "of the base's own /openhands there is still " + ", ".join(shown)
assert importlib.util.find_spec("stale") is None
print("nothing stale")
"""

# Optional components of the images.
OPTIONAL = {AGENT_SERVER: ("uv", "npx")}


def components_of(server: str) -> tuple[Component, ...]:
    """Returns the components of the rows' images with this setting ``server``."""
    return choose(BUILTIN, server=server, components=OPTIONAL.get(server, ())).components


# Rows that share a base are adjacent, so that it is unpacked only once.
ROWS: tuple[Row, ...] = (
    Row(name="trixie", base="debian:trixie", what="Debian trixie, glibc 2.41"),
    Row(name="service", base="service", what="Debian trixie with an ENTRYPOINT, a HEALTHCHECK and a STOPSIGNAL"),
    Row(name="trixie, numeric user", base="debian:trixie", mode="numeric-user", what="`--user 12345`"),
    Row(name="trixie, read-only", base="debian:trixie", mode="read-only", what="`--read-only --tmpfs /tmp`"),
    Row(name="trixie, no capabilities", base="debian:trixie", mode="no-capabilities", what="`--cap-drop ALL`"),
    Row(name="trixie, Docker runtime", base="debian:trixie", mode="docker-runtime",
        what="as the agent-server's Docker runtime starts it"),
    Row(name="alpine", base="alpine:3.23", what="Alpine 3.23 as shipped: musl, no bash"),
    Row(name="alpine, own user", base="alpine-user", what="Alpine 3.23 with a `USER`"),
    Row(name="files only", base="files-only", what="no program at all: passwd, CA certificates, tzdata"),
    Row(name="files only, numeric user", base="files-only", mode="numeric-user", options=("--tmpfs", "/tmp"),
        what="`--user 12345 --tmpfs /tmp`, as that user could make no `/tmp`"),
    Row(name="busybox", base="busybox-musl", what="a static busybox and musl's loader, nothing else"),
    Row(name="bullseye", base="debian:bullseye", what="Debian bullseye, glibc 2.31"),
    Row(name="bookworm", base="debian:bookworm", what="Debian bookworm, glibc 2.36"),
    Row(name="forky", base="debian:forky", what="Debian forky, newer than ours"),
    Row(name="own tools", base="own-tools", what="Debian bullseye with Python 3.9, Node.js 12, tmux 3.1 and git 2.30",
        extra=(Check(name="python3", command=("/usr/bin/python3", "--version"), expect=r"^Python 3\.9"),)),
    Row(name="hostile", base="hostile", what="every hostile variable, with real libraries and modules; glibc",
        extra=(Check(name="python3", command=("/usr/bin/python3", "-c", _HOSTILE_BASE),
                     expect=r"^the base sees its own$"),)),
    Row(name="hostile, musl", base="hostile-musl", what="every hostile variable, with a whole other glibc; musl"),
    Row(name="dotfiles", base="dotfiles",
        what="start-up files that break prompts, and 245 variables of well-known images"),
    Row(name="dotfiles, musl", base="dotfiles-musl", what="a start-up file that asks a question; musl"),
    Row(name="stale /openhands", base="stale-openhands", what="has another, half /openhands already",
        extra=(Check(name="/openhands", command=(PYTHON, "-c", _NOT_STALE), expect=r"^nothing stale$"),)),
    Row(name="trixie, arm64", base="debian:trixie", platform=_EMULATED_PLATFORM, what="linux/arm64 under QEMU",
        without={"processes": _EMULATED}),
    Row(name="V0: alpine, both", base="alpine:3.23", server=BOTH, mode="openhands",
        what="both servers, with the command of OpenHands 1.6.0"),
    Row(name="V0: trixie, openhands", base="debian:trixie", server=ACTION_EXECUTION_SERVER, mode="openhands",
        what="the command of OpenHands 1.6.0, user 1000, with `su` and `useradd` in the base"),
    Row(name="V0: trixie, read-only", base="debian:trixie", server=ACTION_EXECUTION_SERVER, mode="read-only",
        what="the action execution server with `--read-only --tmpfs /tmp`"),
    Row(name="V0: files only, openhands", base="files-only", server=ACTION_EXECUTION_SERVER, mode="openhands",
        what="the command of OpenHands 1.6.0, user 1000, without `su` and `useradd`"),
    Row(name="V0: dotfiles", base="dotfiles", server=ACTION_EXECUTION_SERVER,
        what="the action execution server with those start-up files and variables"),
    Row(name="V0: hostile, musl", base="hostile-musl", server=ACTION_EXECUTION_SERVER,
        what="the action execution server with every hostile variable"),
)  # fmt: skip


@dataclass
class Images:
    """The images of the rows.

    Attributes:
        engine: The engine.
        baked: Report of the bake, by the setting ``server``.
        references: Base of a row → its reference in the registry.
    """

    engine: Connection
    baked: Mapping[str, Baked]
    references: Mapping[str, str]

    def subject(self, row: Row) -> Subject:
        """Returns a row as a subject to verify."""
        target = self.baked[row.server].target(self.references[row.base])
        mode = mode_named(row.mode)
        tag, digest = ImageRef.parse(target["tags"][0]), str(target["digest"])
        return Subject(
            label=row.name,
            reference=str(ImageRef(tag.registry, tag.path).pinned(digest)),
            platform=Platform.parse(row.platform),
            mode=replace(mode, options=(*mode.options, *row.options)),
            digest=digest,
            # A base that only changes another's config shares its unpacked layers.
            group=f"{'debian:trixie' if row.base == 'service' else row.base} {row.platform} {row.server}",
            extra=row.extra,
        )


def make_images(engine: Connection, rows: Iterable[Row]) -> Images:
    """Builds the bases that are missing, and bakes the images of all rows, with one run for each choice of servers."""
    wanted = list(rows)
    references = {row.base: ensure(engine, row.base) for row in wanted}
    baked = {}
    for server in dict.fromkeys(row.server for row in wanted):
        own = [row for row in wanted if row.server == server]
        with tempfile.TemporaryDirectory() as folder:
            text = settings(registry_of(engine), {row.base: references[row.base] for row in own}, own)
            optional = ", ".join(f'"{name}"' for name in OPTIONAL.get(server, ()))
            Path(folder, "ohbuild.toml").write_text(f'server = "{server}"\ncomponents = [{optional}]\n{text}')
            baked[server] = bake(engine, folder=Path(folder))
    return Images(engine, baked, references)


def settings(registry: str, references: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Returns the settings of the bake. It has its own repository, so that it does not move the tags of `make bake`."""
    lines = [
        f'image = "{registry}/matrix/runtime"',
        f'cache_from = ["{registry}/ohbuild/cache:deps"]',
        'cache_to = "off"',
    ]
    for base, image in references.items():
        platforms = sorted({row.platform for row in rows if row.base == base})
        listed = ", ".join(f'"{platform}"' for platform in platforms)
        lines += ["[[bases]]", f'image = "{image}"', f"platforms = [{listed}]"]
    return "\n".join(lines) + "\n"


class Matrix:
    """Runs the rows in the background, two at a time, so that cells can be asserted as soon as they are ready.

    Args:
        images: Images of the rows.
        rows: Rows to run.
        emulation_lock: File to lock as long as rows are emulated.
    """

    def __init__(self, images: Images, rows: Sequence[Row], emulation_lock: Path | None = None) -> None:
        # Emulated rows take longest, so they start first.
        ordered = sorted(rows, key=lambda row: row.platform != _EMULATED_PLATFORM)
        self._emulated = {row.name for row in rows if row.platform == _EMULATED_PLATFORM}
        self._lock = emulation_lock if self._emulated else None
        self._held = ExitStack()
        self.rows = {images.subject(row): row for row in ordered}
        self._done: dict[str, Verdict] = {}
        self._error: BaseException | None = None
        self._news = threading.Condition()
        self.docker = Docker(images.engine)
        self._thread = threading.Thread(target=self._run, args=(images.engine,), daemon=True)
        self._thread.start()

    def _run(self, engine: Connection) -> None:
        try:
            if self._lock:
                self._held.enter_context(held(self._lock, on_wait=lambda: None))
            verify_all(engine, list(self.rows), jobs=2, listener=self._take, docker=self.docker)
        except BaseException as error:
            with self._news:
                self._error = error
                self._news.notify_all()
        finally:
            self._held.close()

    def close(self) -> None:
        """Stops the rows that are still running."""
        self.docker.stop()
        self._thread.join()

    def _take(self, subject: Subject, result: object) -> None:
        if isinstance(result, Verdict):
            with self._news:
                self._done[self.rows[subject].name] = result
                self._news.notify_all()
            if self._emulated <= self._done.keys():
                self._held.close()

    def verdict(self, row: Row) -> Verdict:
        """Waits for a row and returns its verdict."""
        with self._news:
            self._news.wait_for(lambda: row.name in self._done or self._error is not None)
            if row.name not in self._done:
                raise AssertionError(f"the matrix stopped: {self._error!r}") from self._error
            return self._done[row.name]


def table(verdicts: Mapping[str, Verdict]) -> str:
    """Returns the table for the page, a line per row and a column per point, with descriptions of both."""
    names = (*point_names(), "special")
    marks = {State.OK: "✓", State.FAILED: "✗", State.SKIPPED: "–"}
    head = ["| base | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    lines = []
    for row in ROWS:
        states = {point.name: point.state for point in verdicts[row.name].points} if row.name in verdicts else {}
        cells = (marks[states[name]] if name in states and name not in row.without else "–" for name in names)
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    rows = [f"- **{row.name}**: {row.what}" for row in ROWS]
    points = [f"- *{name}*: {promise}" for name, promise in promises().items()]
    points.append("- the components' names: their own checks; *special*: what is peculiar to that base")
    return "\n".join([*head, *lines, "", *rows, "", *points])


def write_page(text: str) -> None:
    """Writes the table to the page, between its markers."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> int:
    """Runs the named rows, or all, and prints failures. If all were run, writes the table."""
    names = sys.argv[1:]
    rows = [row for row in ROWS if not names or row.name in names]
    engine = find()
    begin = time.monotonic()
    images = make_images(engine, rows)
    print(f"bases and images: {time.monotonic() - begin:.0f} s", flush=True)
    with closing(Matrix(images, rows)) as matrix:
        return report(matrix, rows, write=not names)


def report(matrix: Matrix, rows: Sequence[Row], *, write: bool) -> int:
    """Prints each row when it is done.

    Args:
        matrix: The running matrix.
        rows: Its rows.
        write: Whether to write the table to the page at the end.

    Returns:
        The exit code.
    """
    begin = time.monotonic()
    verdicts = {}
    failed = 0
    for row in rows:
        verdict = verdicts[row.name] = matrix.verdict(row)
        print(f"{row.name}: {verdict.seconds:.0f} s, the server after {verdict.start_seconds:.0f} s", flush=True)
        for point in verdict.points:
            if point.state is not State.OK and point.name not in row.without:
                failed += 1
                print(f"  {point.state} {point.name}: {'; '.join(point.reasons)}", flush=True)
        for line in verdict.log:
            print(f"    | {line}")
    print(f"{time.monotonic() - begin:.0f} s, {failed} cells not green")
    if write:
        write_page(table(verdicts))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
