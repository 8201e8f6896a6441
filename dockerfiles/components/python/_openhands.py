"""Where our Python keeps what a user installs, and whom it trusts: what `adapt.py` builds into the standard library."""

import os
import stat
import sys

# Where distributions keep the bundle of the CAs that they trust, a company's own included.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
SHELL = "/openhands/fallback/sh"


def state(home=None, uid=None):
    """The folder for what our tools keep for the user.

    ``~/.local/share/openhands``, or a folder in the temporary one where there is no home that can be written.

    Parameters
    ----------
    home: the user's home; ``$HOME`` by default.
    uid: the user's number; that of the process by default.
    """
    home = os.environ.get("HOME", "") if home is None else home
    own = temporary(os.geteuid() if uid is None else uid)
    if home == own or home.startswith(own + "/") or not (home.startswith("/") and os.access(home, os.W_OK | os.X_OK)):
        return own
    return os.path.join(home, ".local/share/openhands")


def temporary(uid):
    """The user's folder in the first temporary folder that can be written."""
    for folder in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"):
        if folder.startswith("/") and os.access(folder, os.W_OK | os.X_OK):
            break
    return f"{folder}/openhands-{uid}"


def user_base():
    """Where ``pip install`` puts things and Python looks for them (``site.USER_BASE``).

    Not ``~/.local``: what the base's own Python of the same version has there is not ours to use. A folder that
    somebody else owns could bring programs of theirs, so then there is none that exists.
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
        # A link is only good if root or the user made it; a folder for all (/tmp) is good with its sticky bit.
        if status.st_uid not in (0, os.geteuid()) or (stat.S_ISLNK(status.st_mode) and status.st_uid != os.geteuid()):
            return "/nonexistent/openhands-python"
        break
    return base


def trust(context):
    """Lets an SSL context trust what the base trusts as well."""
    for bundle in BUNDLES:
        try:
            context.load_verify_locations(bundle)
        except OSError:  # ssl.SSLError is one
            continue
        return


def shell():
    """The program for ``subprocess.run(…, shell=True)``."""
    return "/bin/sh" if os.path.exists("/bin/sh") else SHELL
