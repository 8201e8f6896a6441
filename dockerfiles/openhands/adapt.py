"""Adapts openhands-ai 1.6.0 to bases that it was not written for. Called in the build with the folder of packages.

Each change replaces a text that must occur exactly as often as stated, so that another version fails here and not at
run time. What is changed: `/bin/bash` may be missing, so `oh-bash` stands in; a user who is already the right one
needs no `su`; and nothing below /openhands changes its owner at run time.
"""

import compileall
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

CHANGES = {
    "openhands/runtime/utils/bash.py": [
        ("_shell_command = '/bin/bash'", "_shell_command = '/openhands/bin/oh-bash'", 1),
        ("f'su {self.username} -'", "f'/openhands/bin/oh-bash --as {self.username}'", 1),
    ],
    "openhands/runtime/plugins/jupyter/__init__.py": [
        (
            "prefix = f'su - {username} -s ' if SU_TO_USER else ''",
            "prefix = '/openhands/bin/oh-bash' + (f' --login-as {username}' if SU_TO_USER else '')",
            1,
        ),
        ("""f"{prefix}/bin/bash << 'EOF'\\n\"""", """f"{prefix} << 'EOF'\\n\"""", 1),
    ],
    "openhands/runtime/plugins/vscode/__init__.py": [
        ("""f"su - {username} -s /bin/bash << 'EOF'\\n\"""", """f"/openhands/bin/oh-bash --login-as {username} << 'EOF'\\n\"""", 1),
        ("""else "/bin/bash << 'EOF'\\n\"""", """else "/openhands/bin/oh-bash << 'EOF'\\n\"""", 1),
        ("                + f'sudo chown -R {username}:{username} /openhands/.openvscode-server\\n'\n", "", 1),
    ],
}


def main() -> None:
    site = Path(sys.argv[1])
    for name, changes in CHANGES.items():
        path = site / name
        text = path.read_text()
        for old, new, times in changes:
            if text.count(old) != times:
                sys.exit(f"adapt: {name}: {old!r} occurs {text.count(old)} times, not {times}: is this 1.6.0?")
            text = text.replace(old, new)
        path.write_text(text)
        compileall.compile_file(path, force=True, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
