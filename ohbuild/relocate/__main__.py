"""``python -m relocate``: the steps called by the component stages, in the order in which they call them."""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import sys
from pathlib import Path

from . import audit, collect, finish, pin
from .elf import LOADERS


def main(arguments: list[str] | None = None) -> int:
    """Runs one step.

    Args:
        arguments: The command line, without the program name. ``sys.argv`` by default.

    Returns:
        The exit code: 1 if the audit has findings or a library is missing.
    """
    parser = argparse.ArgumentParser(prog="relocate", description=__doc__)
    parser.add_argument("--arch", default=os.environ.get("TARGETARCH"), choices=("amd64", "arm64"))
    parser.add_argument("--tree", type=Path, default=Path("/openhands"), help="the component's tree")
    parser.add_argument("--provided", type=Path, default=Path("/provided"), help="folder of required components' trees")
    parser.add_argument("--epoch", type=int, default=int(os.environ.get("SOURCE_DATE_EPOCH") or 0))
    steps = parser.add_subparsers(dest="step", required=True)
    take = steps.add_parser("take", help="copy SOURCE (a glob inside ROOT) to TARGET inside the tree")
    take.add_argument("root", type=Path)
    take.add_argument("pairs", nargs="+", metavar="SOURCE=TARGET")
    libs = steps.add_parser("libs", help="copy libraries that are loaded by name (not listed in DT_NEEDED) from ROOT")
    libs.add_argument("root", type=Path)
    libs.add_argument("names", nargs="+", metavar="NAME")
    close = steps.add_parser("close", help="copy the libraries that the tree needs from ROOT")
    close.add_argument("root", type=Path)
    seal = steps.add_parser("seal", help="pin, normalise and audit the tree")
    seal.add_argument("--wheels", action="store_true", help="change only the files that need it")
    options = parser.parse_args(arguments)
    if options.arch is None:
        parser.error("the architecture is unknown: pass --arch or set TARGETARCH")
    tree: Path = options.tree
    provided = sorted(options.provided.iterdir()) if options.provided.is_dir() else []
    if options.step == "take":
        copy(collect.Root(options.root, options.arch), options.pairs, tree)
    elif options.step == "libs":
        take_libraries(collect.Root(options.root, options.arch), options.names, tree)
    elif options.step == "close":
        known = collect.names([tree / "lib", *(folder / "lib" for folder in provided)])
        seeds = collect.seeds(tree)
        # Programs find libraries in the tree's own folders through $ORIGIN.
        own = frozenset(path.name for path in seeds)
        root = collect.Root(options.root, options.arch)
        try:
            copied = collect.libraries(root, seeds, tree / "lib", known | own)
        except collect.MissingLibrary as error:
            print(f"ohbuild audit: {error}", file=sys.stderr)
            return 1
        print(f"relocate: {len(copied)} libraries")
    else:
        finish.scripts(tree)
        changed = pin.pin(tree, options.arch, wheels=options.wheels)
        finish.finish(tree, options.epoch)
        found = list(audit.component_findings(tree, provided, options.arch))
        for finding in found:
            print(finding, file=sys.stderr)
        print(f"relocate: {changed} files pinned, {len(found)} findings")
        return 1 if found else 0
    return 0


def copy(root: collect.Root, pairs: list[str], tree: Path) -> None:
    """Copies the files that match globs. A symlink is replaced by its target inside the root.

    Args:
        root: The unpacked Debian root.
        pairs: ``SOURCE=TARGET``. If TARGET is empty or ends with a slash, matches keep their names below it.
        tree: The component's ``/openhands``.

    Raises:
        SystemExit: A glob matches nothing.
    """
    for pair in pairs:
        source, _, target = pair.partition("=")
        # Path.glob would follow an absolute symlink on the build machine and may treat it as missing.
        matches = [root.path / name for name in sorted(glob.glob(source, root_dir=root.path))]  # noqa: PTH207
        if not matches:
            raise SystemExit(f"ohbuild audit: {source}: nothing matches in the fetched packages")
        into = tree / target.lstrip("/")
        for match in matches:
            destination = into / match.name if target.endswith("/") or not target else into
            destination.parent.mkdir(parents=True, exist_ok=True)
            found = root.follow(match)
            if found is None:
                continue
            if found.is_dir():
                shutil.copytree(found, destination, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(found, destination)


def take_libraries(root: collect.Root, names: list[str], tree: Path) -> None:
    """Copies libraries by name into ``lib``. Loaders and libmvec may be missing: not every architecture has them.

    Raises:
        SystemExit: Any other library is missing.
    """
    (tree / "lib").mkdir(parents=True, exist_ok=True)
    for name in names:
        if (found := root.library(name)) is not None:
            shutil.copy2(found, tree / "lib" / name)
            # The kernel requires an executable loader. libc.so.6 can be run as well, but nothing here needs that.
            (tree / "lib" / name).chmod(0o755 if name in LOADERS.values() else 0o644)
        elif name not in {*LOADERS.values(), "libmvec.so.1"}:
            raise SystemExit(f"ohbuild audit: {name}: not found in the fetched packages")


if __name__ == "__main__":
    sys.exit(main())
