"""Reads what ohbuild prints in CI as GitHub's runner does."""

from __future__ import annotations

import re

from hypothesis import strategies as st

HOSTILE = (
    "::error::x",
    "  ::add-mask::a",
    "a\r ::error::x",
    "x ##[error]y",
    "##[endgroup]",
    "::group::x",
    "::stop-commands::a",
    "::a::",
)
Did = tuple[str, dict[str, str], str]
LINES = st.one_of(
    st.text(), st.sampled_from(HOSTILE), st.builds("{}{}".format, st.text(max_size=3), st.sampled_from(HOSTILE))
)


class Runner:
    """Reads lines as ActionCommand.cs and ActionCommandManager.cs of actions/runner do, and notes the commands."""

    def __init__(self, *texts: str) -> None:
        self.did: list[Did] = []
        self.token = ""
        for text in texts:
            for line in re.split(r"\r\n|\r|\n", text):
                self.line(line)

    def line(self, line: str) -> None:
        found = self._parse(line.lstrip(), r"::()([^ ]*?)( .*?)?::(.*)", ",") or self._parse(
            line, r"(.*?)##\[([^ \]]*)( [^\]]*)?\](.*)", ";"
        )
        if found is None:
            return
        if self.token:
            self.token = "" if found[0] == self.token else self.token
        elif found[0] == "stop-commands":
            self.token = found[2].lower()
        else:
            self.did.append(found)

    def _parse(self, line: str, pattern: str, separator: str) -> Did | None:
        known = {
            "error",
            "warning",
            "notice",
            "group",
            "endgroup",
            "add-mask",
            "set-output",
            "stop-commands",
            self.token,
        }
        match = re.match(pattern, line, re.S)
        if not match or match[2].lower() not in known - {""}:
            return None
        pairs = [pair.partition("=") for pair in (match[3] or "").strip().split(separator)]
        properties = {key: self._unescape(value, ":", ",") for key, _, value in pairs if value}
        return match[2].lower(), properties, self._unescape(match[4])

    @staticmethod
    def _unescape(text: str, *more: str) -> str:
        for character in ("\r", "\n", *more, "%"):
            text = text.replace(f"%{ord(character):02X}", character)
        return text


def outputs_read(text: str) -> dict[str, str]:
    """Reads GITHUB_OUTPUT as FileCommandManager.cs of actions/runner does."""
    found = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        name, mark, delimiter = line.partition("<<")
        if not mark:
            name, _, value = line.partition("=")
            found[name] = value
            continue
        assert "=" not in name
        parts = []
        while (part := next(lines)) != delimiter:
            parts.append(part)
        found[name] = "\n".join(parts)
    return found
