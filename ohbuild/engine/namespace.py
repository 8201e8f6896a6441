"""Runs programs of the engine's root in a private mount namespace.

In the namespace ``/usr`` is the engine's and everything else is the host's. Programs see the host's resolv.conf, hosts
and CA bundle as they change. Paths mean the same inside and outside, so host folders can be mounted into containers.
Mounts made in the namespace are never visible outside.
"""

from __future__ import annotations

from pathlib import Path

from ohbuild import process
from ohbuild.engine.bootstrap import OWN_PATH

# $1 is the engine's root, the rest a command line. /run/containerd is hidden because dockerd would use a containerd of
# the host if it found one there. Shims keep their sockets in that folder too.
LAUNCH = """
set -eu
root=$1
shift
if [ -d /usr/lib/modules ]; then mount --bind /usr/lib/modules "$root/usr/lib/modules"; fi
mount --rbind "$root/usr" /usr
mkdir -p /run/containerd
mount -t tmpfs -o mode=0711 ohbuild /run/containerd
exec "$@"
"""


def inside(root: Path, *argv: str | Path) -> tuple[str | Path, ...]:
    """Returns the command line that runs a command in the namespace.

    Args:
        root: The engine's root.
        argv: The command and its arguments.
    """
    return ("unshare", "--mount", "--propagation", "slave", "sh", "-c", LAUNCH, "sh", root, *argv)


def search_path(*first: Path) -> str:
    """Returns the PATH of the namespace, with these folders in front."""
    own = f"/{OWN_PATH}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ":".join((*map(str, first), own))


def ask(root: Path, *argv: str | Path) -> process.Answer:
    """Runs a short command in the namespace and returns its result (``process.ask``)."""
    return process.ask(inside(root, *argv), env={"PATH": search_path()})
