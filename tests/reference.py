"""docs/reference.md, written from the settings and the flags: ``python -m tests.reference`` (``make reference``)."""

from __future__ import annotations

import json
from pathlib import Path

from ohbuild.config.flags import FLAGS, written
from ohbuild.config.settings import ENV_PREFIX, Settings

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
_HEAD = f"""# Settings

To look up a setting: written by `make reference`, out of the code.

A setting is a key of `ohbuild.toml` or of `[tool.ohbuild]` in `pyproject.toml`; a variable `{ENV_PREFIX}NAME` goes over
the file, and a flag over both. `ohbuild config` shows every value in force and where it came from. The keys of
`kubernetes` are in [Kubernetes](kubernetes.md).

| setting | default | flag of `bake` | what it is |
|---|---|---|---|
"""


def page() -> str:
    """The page's text."""
    defaults = Settings.model_construct().model_dump(mode="json")
    flags: dict[str, list[str]] = {}
    for name, flag in FLAGS.items():
        flags.setdefault("bases" if name == "bases" else flag.setting, []).append(
            "BASE…" if name == "bases" else f"`{written(name)}`"
        )
    rows = []
    for name, field in Settings.model_fields.items():
        text = "" if name == "kubernetes" else json.dumps(defaults[name], ensure_ascii=False)
        default = "" if text in ("null", '""', "[]", "{}", "") else f"`{text}`"
        cells = (f"`{name}`", default, ", ".join(flags.get(name, [])), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
