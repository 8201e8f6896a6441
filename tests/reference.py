"""Generates docs/reference.md and ohbuild.schema.json: ``python -m tests.reference`` (``make reference``).

With ``--check`` it writes nothing and fails if one of them is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ohbuild.config.flags import FLAGS, written
from ohbuild.config.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"
SCHEMA = ROOT / "ohbuild.schema.json"
_HEAD = f"""# Settings

To look up a setting. This page is generated from the code (`make reference`).

A setting is a key in `ohbuild.toml`, or in `[tool.ohbuild]` in `pyproject.toml`. The variable `{ENV_PREFIX}NAME`
overrides the file, and a flag overrides both. `ohbuild config` shows every value and where it came from. The keys of
`kubernetes` are described in [Kubernetes](kubernetes.md).

A list in a flag, an argument or a variable is one text: items separated by commas or line breaks, or a JSON list. A
JSON list of bases may have tables: `["debian:trixie", {{"image": "alpine:3.23", "platforms": ["linux/amd64"]}}]`. A
table in a variable has items `NAME=VALUE` separated by commas or line breaks, or is a JSON object.

[`{SCHEMA.name}`](../{SCHEMA.name}) is the JSON Schema of `ohbuild.toml`. With it, an editor completes,
explains and checks keys. Copy it next to your `ohbuild.toml` and begin that file with this line, which Taplo and the
VS Code extension Even Better TOML understand:

```toml
#:schema ./{SCHEMA.name}
```

| setting | default | flag | description |
|---|---|---|---|
"""


def page() -> str:
    """Returns the text of docs/reference.md."""
    defaults = _defaults()
    flags: dict[str, list[str]] = {}
    for name, flag in FLAGS.items():
        flags.setdefault(flag.setting, []).append(f"`{written(name)}`")
    rows = []
    for name, field in Settings.model_fields.items():
        default = defaults.get(name)
        shown = "" if default in (None, "", [], {}) else f"`{json.dumps(default, ensure_ascii=False)}`"
        cells = (f"`{name}`", shown, ", ".join(flags.get(name, [])), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |\n")
    return _HEAD + "".join(rows)


def schema() -> str:
    """Returns the text of ohbuild.schema.json."""
    found = Settings.model_json_schema(schema_generator=_Schema)
    for name, default in _defaults().items():
        found["properties"][name]["default"] = default
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "ohbuild.toml"}
    definitions = {"$defs": found.pop("$defs")}
    return json.dumps({**head, **found, **head, **definitions}, indent=2, ensure_ascii=False) + "\n"


class _Schema(GenerateJsonSchema):
    """JSON Schema as TOML needs it, which has no null, with a description of every key."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model = schema["cls"]
        found = super().model_schema(schema)
        found["description"] = _plain(cleandoc(model.__doc__ or "").partition("\n")[0])
        for name, text in _documented(model):
            found["properties"][name].setdefault("description", text)
        return found

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value is not None}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        return {**found, "additionalProperties": False} if "patternProperties" in found else found

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _documented(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yields name and text of each field, from the docstrings of a model and of those that it inherits from."""
    for each in model.__mro__:
        _, _, section = cleandoc(each.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^    (\w+): ((?:.|\n     )*)", section, re.MULTILINE):
            if name in model.model_fields:
                yield name, _plain(text)


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _defaults() -> dict[str, Any]:
    """Returns the defaults as TOML has them, which has no null."""
    return Settings.model_construct().model_dump(mode="json", exclude_none=True)


def main(words: list[str]) -> str | None:
    """Writes both files, or checks them; returns what is wrong."""
    made = {PAGE: page(), SCHEMA: schema()}
    if words != ["--check"]:
        for path, text in made.items():
            path.write_text(text)
        return None
    stale = [path.name for path, text in made.items() if not path.exists() or path.read_text() != text]
    return f"{', '.join(stale)} out of date: run `make reference`" if stale else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
