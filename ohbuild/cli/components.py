"""``ohbuild components``."""

from __future__ import annotations

from ohbuild.builders.factory import BUILTIN, known_builders
from ohbuild.cli import report
from ohbuild.cli.console import err, new_table, out, plain
from ohbuild.cli.streams import say
from ohbuild.components.extensions import OWN, known_components


def run(*, json_: bool) -> None:
    """Prints the available components and builders, and why others are broken."""
    components, builders = known_components(), known_builders()
    sources = {**dict.fromkeys(BUILTIN, OWN), **builders.sources}
    problems = (*components.problems, *builders.problems)
    if json_:
        data = {
            "ok": not problems,
            "components": [
                {
                    "name": item.name,
                    "version": item.version,
                    "from": components.sources[item.name],
                    "description": item.description,
                    "plugins": list(item.plugins),
                    "requires": list(item.requires),
                    "args": dict(item.args),
                    "env": dict(item.env),
                }
                for item in components.components
            ],
            "builders": [{"name": name, "from": source} for name, source in sources.items()],
            "broken": [
                {"name": problem.name, "from": problem.source, "reason": problem.message} for problem in problems
            ],
        }
        say(report.dump(data))
        return
    table = new_table("component", "version", "from", "serves", "description")
    for item in components.components:
        cells = (item.name, item.version, components.sources[item.name], ", ".join(item.plugins), item.description)
        table.add_row(*(plain(cell) for cell in cells))
    out().print(table)
    table = new_table("builder", "from")
    for name, source in sources.items():
        table.add_row(plain(name), plain(source))
    out().print("")
    out().print(table)
    for problem in problems:
        err.print(f"broken: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
