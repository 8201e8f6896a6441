"""``ohbuild config``."""

from __future__ import annotations

import json
from pathlib import Path

from ohbuild.cli import report
from ohbuild.cli.console import new_table, out, plain
from ohbuild.cli.streams import say
from ohbuild.config.settings import Settings, load


def run(*, config: Path | None, json_: bool) -> None:
    """Prints every setting, its value and where the value came from."""
    configuration = load(config=config)
    values = configuration.settings.model_dump(mode="json")
    if json_:
        data = {key: {"value": values[key], "from": configuration.origins[key]} for key in values}
        say(report.dump(data))
        return
    table = new_table("setting", "value", "from", "description")
    table.columns[0].no_wrap = True
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        description = Settings.model_fields[key].description or ""
        cells = (key, text if value is not None else "", configuration.origins[key], description)
        table.add_row(*(plain(cell) for cell in cells))
    out().print(table)
