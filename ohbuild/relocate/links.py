"""Where paths lead in a tree below ``/openhands``, symlinks followed as the kernel does (path_resolution(7))."""

from __future__ import annotations

from collections.abc import Mapping

from .entries import Entry
from .pin import PREFIX

# The kernel's limit (path_resolution(7)).
_LINKS = 40
OUTSIDE, NOWHERE, LOOP = f"is outside {PREFIX}", "does not exist", "is a symlink loop"


def resolve(tree: Mapping[str, Entry], path: str, *, whole: bool) -> tuple[str, str]:
    """Resolves an absolute path, following symlinks as the kernel does (path_resolution(7)).

    A path may pass through the root folder, but through nothing else outside the prefix.

    Args:
        tree: The entries below the prefix.
        path: The absolute path.
        whole: Whether the complete path must exist. A symlink at its end is then followed too.

    Returns:
        The path below the prefix, and the problem: empty, or one of ``OUTSIDE``, ``NOWHERE`` and ``LOOP``.
    """
    todo = path.split("/")[::-1]
    here: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del here[-1:]
            continue
        here.append(part)
        if here[0] != PREFIX[1:]:
            return "", OUTSIDE
        entry = tree.get("/".join(here[1:]))
        if entry is not None and entry.kind == "link" and (whole or todo):
            links += 1
            if links > _LINKS:
                return "", LOOP
            here = [] if entry.target.startswith("/") else here[:-1]
            todo += entry.target.split("/")[::-1]
        elif whole and (entry is None or (todo and entry.kind != "folder")):
            return "", NOWHERE
    return "/".join(here[1:]), "" if here else OUTSIDE


def follow(tree: Mapping[str, Entry], path: str) -> tuple[str, Entry | None]:
    """Resolves an absolute path that must exist.

    Returns:
        The path below the prefix and its entry, or the problem (see ``resolve``) and None.
    """
    name, problem = resolve(tree, path, whole=True)
    return (problem, None) if problem else (name, tree[name])
