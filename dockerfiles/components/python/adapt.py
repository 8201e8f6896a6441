"""Adapts Python's standard library and pip to all kinds of bases.

The build calls it with Python's prefix after installing pip. Each change replaces a text that must occur exactly once,
so that a different version fails in the build and not at run time.
"""

import sys
from pathlib import Path

LIBRARY = "lib/python3.13"
PIP = "lib/python3/dist-packages/pip/_internal"
CHANGES = {
    # site.py is frozen, so sitecustomize.py makes the same change there.
    f"{LIBRARY}/sysconfig/__init__.py": [
        (
            'env_base = os.environ.get("PYTHONUSERBASE", None)',
            "import _openhands\n    env_base = _openhands.user_base()",
        )
    ],
    f"{LIBRARY}/ssl.py": [
        (
            "        self.set_default_verify_paths()\n",
            "        self.set_default_verify_paths()\n        import _openhands\n        _openhands.trust(self)\n",
        )
    ],
    f"{LIBRARY}/subprocess.py": [
        ("hasattr(sys, 'getandroidapilevel') else '/bin/sh')", "hasattr(sys, 'getandroidapilevel') else _shell())"),
        ("import builtins\n", "import builtins\nfrom _openhands import shell as _shell\n"),
    ],
    # Nothing is installed below /openhands, not even by root. Packages go to the user's own folder.
    f"{PIP}/commands/install.py": [
        (
            "    if site_packages_writable(",
            "    import sys\n\n    if sys.prefix != '/openhands/python' and site_packages_writable(",
        )
    ],
}


def main() -> None:
    """Changes the files below the prefix given as first argument."""
    prefix = Path(sys.argv[1])
    for name, changes in CHANGES.items():
        path = prefix / name
        text = path.read_text()
        for old, new in changes:
            if text.count(old) != 1:
                sys.exit(f"adapt: {name}: {old!r} occurs {text.count(old)} times, expected once")
            text = text.replace(old, new)
        path.write_text(text)


if __name__ == "__main__":
    main()
