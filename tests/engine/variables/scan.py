"""Runs in a container: prints the names of the variables that Python packages read, one a line: scan.py FOLDER…"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

READS = (
    ".environ.get",
    ".environ.pop",
    ".environ.setdefault",
    "getenv",
    "get_secret",
    "get_secret_str",
    "get_secret_bool",
)
# A module that reads variables has one of these.
WORDS = ("environ", "getenv", "get_secret")


def names(tree: ast.AST) -> Iterator[str]:
    """Yields the constant names of variables that a module reads."""
    for node in ast.walk(tree):
        name: ast.expr | None = None
        if isinstance(node, ast.Call) and node.args and f".{ast.unparse(node.func)}".endswith(READS):
            name = node.args[0]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _environ(node.value):
            name = node.slice
        elif isinstance(node, ast.Compare) and any(map(_environ, node.comparators)):
            name = node.left
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.strip():
            yield name.value


def _environ(node: ast.expr) -> bool:
    return ast.unparse(node).endswith("environ")


def main() -> None:
    """Scans the folders."""
    warnings.simplefilter("ignore")
    found: set[str] = set()
    for folder in sys.argv[1:]:
        for path in Path(folder).rglob("*.py"):
            text = path.read_text(errors="replace")
            if not any(word in text for word in WORDS):
                continue
            try:
                found.update(names(ast.parse(text)))
            except (SyntaxError, ValueError):
                continue
    print("\n".join(sorted(found)))


main()
