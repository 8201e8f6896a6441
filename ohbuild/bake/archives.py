"""Archives in the build context whose contents become layers. Pure."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

from ohbuild.folder import File


def opaque_whiteout(epoch: int) -> File:
    """Returns an archive whose layer hides everything below ``/openhands`` in lower layers.

    See https://github.com/opencontainers/image-spec/blob/main/layer.md#opaque-whiteout.

    Args:
        epoch: Time of its entries, in seconds since 1970.
    """
    return _archive([_folder("openhands"), tarfile.TarInfo("openhands/.wh..wh..opq")], epoch)


def client_paths(epoch: int) -> File:
    """Returns an archive with the paths outside ``/openhands`` that clients of the agent-server rely on.

    Two programs by which they start the server, and the folders for an agent's work, which everybody may write to. A
    client may start the image as any user.

    Args:
        epoch: Time of its entries, in seconds since 1970.
    """
    entries = [
        *(_folder(path) for path in ("agent-server", "agent-server/.venv", "agent-server/.venv/bin")),
        _link("agent-server/.venv/bin/python", "/openhands/agent-server/libexec/python"),
        *(_folder(path) for path in ("usr", "usr/local", "usr/local/bin")),
        _link("usr/local/bin/openhands-agent-server", "/openhands/bin/oh-agent-server"),
        *(_folder(path, 0o1777) for path in ("workspace", "workspace/project")),
    ]
    return _archive(entries, epoch)


def _folder(path: str, mode: int = 0o755) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    return entry


def _link(path: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    return entry


def _archive(entries: Iterable[tarfile.TarInfo], epoch: int) -> File:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in entries:
            entry.mtime = epoch
            archive.addfile(entry)
    return File(stream.getvalue())
