"""The server side of ``kubectl exec``: SPDY/3.1 as spoken by client-go, with standard streams connected to a socket.

client-go opens its streams in the order error, stdin, stdout, stderr and waits for a reply to each
(k8s.io/client-go/tools/remotecommand/v2.go), so the headers can be ignored. There is no flow control
(github.com/moby/spdystream).
"""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from contextlib import suppress
from io import BufferedIOBase

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_VERSION, _CONTROL, _FIN = 3, 0x8000_0000, 1
_CHUNK = 1 << 16
# The order in which client-go opens the streams gives them the numbers 1, 3, 5, 7.
_ERROR, _STDIN, _STDOUT, _STDERR = 1, 3, 5, 7


class Exec:
    """An upgraded connection.

    Args:
        reader: Input of the HTTP connection, after the response 101.
        writer: Output of the HTTP connection.
        connection: The HTTP connection.
        command: Socket that stands for the command's standard streams.
    """

    def __init__(
        self, reader: BufferedIOBase, writer: BufferedIOBase, connection: socket.socket, command: socket.socket
    ) -> None:
        self._reader, self._writer, self._connection, self._command = reader, writer, connection, command
        self._silent = False
        self._lock = threading.Lock()
        self._headers = zlib.compressobj()

    def end(self, *, silent: bool) -> None:
        """Ends the command, from another thread.

        Args:
            silent: Whether the connection stays open, without any more data; otherwise it is closed.
        """
        self._silent = True
        with suppress(OSError):
            self._command.shutdown(socket.SHUT_RDWR)
        if not silent:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Copies data until the client disconnects or the command ends, then closes the command's socket."""
        output: threading.Thread | None = None
        with self._command:
            with suppress(OSError):
                while frame := self._frame():
                    kind, flags, payload = frame
                    if kind == _SYN_STREAM:
                        stream = int.from_bytes(payload[:4], "big")
                        self._reply(stream)
                        if stream == _STDERR:
                            output = threading.Thread(target=self._output, daemon=True)
                            output.start()
                    elif kind == 0:
                        stream, data = int.from_bytes(payload[:4], "big"), payload[4:]
                        if stream == _STDIN and not self._silent:
                            self._command.sendall(data)
                            if flags & _FIN:
                                self._command.shutdown(socket.SHUT_WR)
                    elif kind == _PING:
                        self._control(_PING, payload)
                    elif kind == _GOAWAY or (kind == _RST_STREAM and int.from_bytes(payload[:4], "big") == _STDOUT):
                        break
            with suppress(OSError):
                self._command.shutdown(socket.SHUT_RDWR)
            if output:
                output.join()

    def _frame(self) -> tuple[int, int, bytes] | None:
        """Returns kind, flags and payload; ``None`` at the end. Data has kind 0 and starts with the stream's number."""
        head = self._reader.read(8)
        if len(head) < 8:
            return None
        first, second = struct.unpack(">II", head)
        payload = self._reader.read(second & 0xFF_FFFF)
        if first & _CONTROL:
            return first & 0xFFFF, second >> 24, payload
        return 0, second >> 24, head[:4] + payload

    def _output(self) -> None:
        with suppress(OSError):
            while data := self._command.recv(_CHUNK):
                self._data(_STDOUT, data)
        if self._silent:
            return
        with suppress(OSError):
            self._data(_ERROR, b'{"metadata":{},"status":"Success"}')
            for stream in (_STDOUT, _STDERR, _ERROR, _STDIN):
                self._data(stream, b"", _FIN)

    def _reply(self, stream: int) -> None:
        with self._lock:  # the whole connection shares one compression stream for headers
            headers = self._headers.compress(struct.pack(">I", 0)) + self._headers.flush(zlib.Z_SYNC_FLUSH)
            self._send(_head(_SYN_REPLY, 4 + len(headers)) + struct.pack(">I", stream) + headers)

    def _control(self, kind: int, payload: bytes) -> None:
        with self._lock:
            self._send(_head(kind, len(payload)) + payload)

    def _data(self, stream: int, data: bytes, flags: int = 0) -> None:
        with self._lock:
            self._send(struct.pack(">II", stream, flags << 24 | len(data)) + data)

    def _send(self, frame: bytes) -> None:
        self._writer.write(frame)
        self._writer.flush()


def _head(kind: int, length: int) -> bytes:
    return struct.pack(">II", _CONTROL | _VERSION << 16 | kind, length)
