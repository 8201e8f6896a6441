"""Waits until a port on loopback accepts connections: wait.py PORT."""

import contextlib
import socket
import sys
import time

for _ in range(300):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1):
        break
    time.sleep(0.1)
else:
    sys.exit(f"nothing is listening on port {sys.argv[1]}")
