"""What is found out about a part, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


class Problem(Exception):
    """A part does not work.

    Attributes:
        log: The last lines of what its program printed.
    """

    def __init__(self, message: str, log: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.log = tuple(log)


@dataclass(kw_only=True)
class Findings:
    """What is found out about a part.

    Attributes:
        name: Name of the part.
        problems: What does not work.
        remarks: What works, but may surprise.
        log: The last lines of a program that failed.
        skipped: Why the part was not tried; empty if it was.
        seconds: How long it took, in seconds.
    """

    name: str
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0

    @property
    def state(self) -> str:
        """Whether the part works, does not work, or was not tried."""
        return FAILED if self.problems else SKIPPED if self.skipped else OK

    def data(self) -> dict[str, Any]:
        """Returns the entry of ``--json``."""
        return {
            "name": self.name, "state": self.state, "seconds": round(self.seconds, 2), "problems": self.problems,
            "remarks": [*([self.skipped] if self.skipped else []), *self.remarks], "log": self.log,
        }  # fmt: skip

    def lines(self, width: int) -> Iterator[str]:
        """Yields the lines for people.

        Args:
            width: How many characters the names of the parts have at most.
        """
        told = [*self.problems, *([self.skipped] if self.skipped else []), *self.remarks]
        head = f"{self.state:7}  {self.name:{width}}  {self.seconds:4.1f} s"
        yield f"{head}  {told[0]}" if told else head
        indent = " " * len(head)
        yield from (f"{indent}  {line}" for line in told[1:])
        yield from (f"{indent}  | {line}" for line in self.log)
