"""Where our Python installs packages and which CAs it trusts. ``adapt.py`` makes the standard library call this."""

import os
import stat
import sys

# The CA bundles of distributions, which include a company's own CAs.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
SHELL = "/openhands/fallback/sh"


def state(home=None, uid=None):
    """Returns the folder for our tools' data of the user.

    It is ``~/.local/share/openhands``, or a folder in the temporary folder if there is no writable home.

    Args:
        home: The user's home; ``$HOME`` by default.
        uid: The user's UID; that of the process by default.
    """
    home = os.environ.get("HOME", "") if home is None else home
    own = temporary(os.geteuid() if uid is None else uid)
    if home == own or home.startswith(own + "/") or not (home.startswith("/") and os.access(home, os.W_OK | os.X_OK)):
        return own
    return os.path.join(home, ".local/share/openhands")


def temporary(uid):
    """Returns the user's folder in the first writable temporary folder."""
    for folder in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"):
        if folder.startswith("/") and os.access(folder, os.W_OK | os.X_OK):
            break
    return f"{folder}/openhands-{uid}"


def user_base():
    """Returns the folder where ``pip install`` installs packages and Python finds them (``site.USER_BASE``).

    It is not ``~/.local``, which belongs to the base's own Python of the same version. A folder owned by another user
    could inject programs. In this case the result is a path that does not exist.
    """
    if not sys.flags.ignore_environment and os.environ.get("PYTHONUSERBASE"):
        return os.environ["PYTHONUSERBASE"]
    base = os.path.join(state(), "python")
    folder = base
    while folder != "/":
        try:
            status = os.lstat(folder)
        except OSError:
            folder = os.path.dirname(folder)
            continue
        # A symlink must belong to the user. A folder may also belong to root, as /tmp with its sticky bit does.
        if status.st_uid not in (0, os.geteuid()) or (stat.S_ISLNK(status.st_mode) and status.st_uid != os.geteuid()):
            return "/nonexistent/openhands-python"
        break
    return base


def trust(context):
    """Makes an SSL context also trust the CAs that the base trusts."""
    for bundle in BUNDLES:
        try:
            context.load_verify_locations(bundle)
        except OSError:  # includes ssl.SSLError
            continue
        return


def shell():
    """Returns the shell for ``subprocess.run(…, shell=True)``."""
    return "/bin/sh" if os.path.exists("/bin/sh") else SHELL
