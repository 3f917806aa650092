"""A server that really listens, keeps what it is told, and answers by script."""

import contextlib
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable

HOLD_S = 20
"""How long a server that stalls holds a connection that its client does not close."""

RESET = "reset"
HOLD = "hold"
NEXT = "next"
UNWRAP = "unwrap"


class Server:
    """Answers every request by the next of `scripts`, the last one for ever. A script is a list: bytes to send, seconds
    to sleep, RESET (the connection ends with a TCP reset), HOLD (it stays open until the client goes), NEXT (the next
    request on the same connection is heard), UNWRAP (TLS ends, TCP stays open until the client goes). At its end the
    connection is closed in peace.

    `heard` is all requests as they came, `connections` how many there were."""

    def __init__(self, *scripts: list, tls: ssl.SSLContext | None = None, greet: bool = False) -> None:
        self.scripts = list(scripts)
        self.heard: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._greet = greet  # misbehave before a request, or TLS, has been heard
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._said: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def play(self, *scripts: list) -> None:
        """From now on, answer by these; what was heard is forgotten."""
        with self._lock:
            self.scripts = list(scripts)
            self.heard = []
            self.connections = 0

    def wait_until_said(self) -> None:
        """Wait until a script has been played up to its HOLD or NEXT, or to the connection's end."""
        self._said.get(timeout=HOLD_S)

    def close(self) -> None:
        """Stop listening and end all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(HOLD_S)
            if self._tls and not self._greet:
                plain = connection
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.discard(plain)
                self._open.add(connection)
            while self._answer(connection):
                pass
        except (OSError, ValueError):  # the client has gone, or is not content with our certificate
            pass
        finally:
            self._open.discard(connection)
            connection.close()
            self._said.put(None)

    def _answer(self, connection: socket.socket) -> bool:
        """Play one script; True when another request may follow on the same connection."""
        if not self._greet:
            request = _read_request(connection)
            if not request:
                return False
        with self._lock:
            if not self._greet:
                self.heard.append(request)
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        for act in script:
            if isinstance(act, bytes):
                connection.sendall(act)
            elif act == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            elif act == HOLD:
                self._said.put(None)
                while connection.recv(65536):
                    pass
            elif act == UNWRAP:
                connection.unwrap()
            elif act == NEXT:
                self._said.put(None)
                return True
            else:
                time.sleep(act)
        if not self._tls:
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                connection.settimeout(0.2)
                connection.recv(1)
        return False


def answer(body: bytes = b"", status: str = "200 OK", headers: Iterable[str] = (), kind="application/json") -> bytes:
    """An answer as it should be."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunks(*parts: bytes) -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(65536)
        if not more:
            return b""
        request += more
    head, _, body = request.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            return b""
        request += more
        body += more
    return request
