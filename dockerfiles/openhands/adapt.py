"""Adapts openhands-ai 1.6.0 to bases that it was not written for. Called in the build with the folder of packages.

Each change replaces a text that must occur exactly once, so that another version fails here and not at run time. What
is changed: `/bin/bash` may be missing, so `oh-bash` stands in; a user who is already the right one needs no `su`; and
nothing below /openhands changes its owner at run time.
"""

import compileall
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

BASH = "/openhands/bin/oh-bash"
CHANGES = {
    "openhands/runtime/utils/bash.py": [
        ("_shell_command = '/bin/bash'", f"_shell_command = '{BASH}'"),
        ("f'su {self.username} -'", f"f'{BASH} --as {{self.username}}'"),
    ],
    "openhands/runtime/plugins/jupyter/__init__.py": [
        (
            "prefix = f'su - {username} -s ' if SU_TO_USER else ''",
            f"prefix = '{BASH}' + (f' --login-as {{username}}' if SU_TO_USER else '')",
        ),
        ("""f"{prefix}/bin/bash << 'EOF'\\n\"""", """f"{prefix} << 'EOF'\\n\""""),
    ],
    "openhands/runtime/plugins/vscode/__init__.py": [
        ("su - {username} -s /bin/bash << 'EOF'", f"{BASH} --login-as {{username}} << 'EOF'"),
        ("else \"/bin/bash << 'EOF'", f"else \"{BASH} << 'EOF'"),
        ("                + f'sudo chown -R {username}:{username} /openhands/.openvscode-server\\n'\n", ""),
    ],
}


def main() -> None:
    """Changes the files below the folder that is the first argument, and compiles them again."""
    site = Path(sys.argv[1])
    for name, changes in CHANGES.items():
        path = site / name
        text = path.read_text()
        for old, new in changes:
            if text.count(old) != 1:
                sys.exit(f"adapt: {name}: {old!r} occurs {text.count(old)} times, not once: is this 1.6.0?")
            text = text.replace(old, new)
        path.write_text(text)
        compileall.compile_file(path, force=True, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
