"""Exposes Docker's BuildKit at its own socket, for tests on machines without a standalone BuildKit.

Docker's BuildKit speaks gRPC on the Docker socket, behind ``POST /grpc`` with an upgrade to h2c. buildx's ``docker``
driver reaches it that way. The bridge does this handshake for every connection to another socket, so that buildx's
``remote`` driver (``unix://LISTEN``) and the API server double of the ``kubernetes`` driver can use it. So can a
container with the host's network, by a port.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
_CHUNK = 1 << 16


def buildkit(docker_socket: Path) -> socket.socket:
    """Opens a gRPC connection to Docker's BuildKit.

    Raises:
        ConnectionError: Docker does not offer it.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(docker_socket))
        connection.sendall(_UPGRADE)
        answer = b""
        # Byte by byte, because BuildKit's first bytes may follow immediately.
        while not answer.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                break
            answer += byte
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"{docker_socket} does not lead to BuildKit: {answer.decode(errors='replace')!r}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def bridge(docker_socket: Path, listen: Path) -> Iterator[str]:
    """Exposes Docker's BuildKit at another socket within the context.

    Args:
        docker_socket: Socket of the Docker Engine.
        listen: Path of the new socket. It must not exist, and is limited to 107 bytes.

    Yields:
        The address for ``docker buildx create --driver remote``.
    """
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as server:
        server.bind(str(listen))
        try:
            with _serving(server, docker_socket):
                yield f"unix://{listen}"
        finally:
            listen.unlink(missing_ok=True)


@contextmanager
def port_bridge(docker_socket: Path) -> Iterator[int]:
    """Exposes Docker's BuildKit at a TCP port of loopback within the context, and yields the port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server, _serving(server, docker_socket):
        yield int(server.getsockname()[1])


@contextmanager
def _serving(server: socket.socket, docker_socket: Path) -> Iterator[None]:
    threads: list[threading.Thread] = []
    connections: set[socket.socket] = set()
    server.listen()
    threads.append(threading.Thread(target=_serve, args=(server, docker_socket, connections, threads), daemon=True))
    threads[0].start()
    try:
        yield
    finally:
        hang_up(server)
        threads[0].join()
        for connection in list(connections):
            hang_up(connection)
        for thread in threads:
            thread.join()


def splice(near: socket.socket, far: socket.socket) -> None:
    """Copies bytes in both directions between two connections until both have ended, then closes them."""
    with near, far:
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join()


def hang_up(connection: socket.socket) -> None:
    """Ends a connection, even if other threads are waiting for it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _serve(
    server: socket.socket, docker_socket: Path, connections: set[socket.socket], threads: list[threading.Thread]
) -> None:
    while True:
        try:
            near, _ = server.accept()
        except OSError:  # the bridge is closed
            return
        try:
            far = buildkit(docker_socket)
        except OSError:  # Docker is down: behave as if nothing listened here
            near.close()
            continue
        connections |= {near, far}
        threads.append(threading.Thread(target=splice, args=(near, far), daemon=True))
        threads[-1].start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copies bytes in one direction until the end, and then passes on the end."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
