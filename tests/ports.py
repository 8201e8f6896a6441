"""Free TCP ports for servers that are told their port, and open it a moment later."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress


def free_ports(count: int = 1) -> int:
    """Returns the first of ``count`` unused ports in a row.

    They are below the range from which the kernel and Docker take ports (``ip_local_port_range``), so that no
    connection and no container of a test beside it gets one of them in the meantime.
    """
    while True:
        first = random.randrange(20_000, 32_000)
        with ExitStack() as sockets, suppress(OSError):
            for port in range(first, first + count):
                sockets.enter_context(socket.socket()).bind(("", port))
            return first
