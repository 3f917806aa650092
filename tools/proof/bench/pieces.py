"""A server for one thing and one firmware that sends the firmware in pieces of a chosen size."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD_MAX_BYTES = 8192


@dataclass(frozen=True)
class Pieces:
    """How the firmware comes: as "raw" or "string", in pieces of `size_bytes`, each an HTTP chunk or a TCP segment."""

    form: str
    size_bytes: int
    chunked: bool


@contextlib.contextmanager
def serving(image: bytes, version_id: str, pieces: Pieces) -> Iterator[str]:
    """The server's address, as long as the block lasts. `image` is the firmware of its one version, the target."""
    body = image if pieces.form == "raw" else b'"' + base64.b64encode(image) + b'"'
    kind = "application/octet-stream" if pieces.form == "raw" else "application/json"
    target = json.dumps({"id": version_id, "name": "2", "description": ""}).encode()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while path := _next_request(connection):
                if path.endswith("/target.json"):
                    connection.sendall(_head(200, "application/json", len(target)) + target)
                elif path.endswith("/firmware.json"):
                    _send(connection, body, kind, pieces)
                else:
                    connection.sendall(_head(204, None, None))

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _next_request(connection: socket.socket) -> str:
    """The next request's path, its body read; "" when the connection has ended."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD_MAX_BYTES:
        more = connection.recv(4096)
        if not more:
            return ""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value):
                body += connection.recv(4096)
    return head.split()[1].decode()


def _send(connection: socket.socket, body: bytes, kind: str, pieces: Pieces) -> None:
    connection.sendall(_head(200, kind, None if pieces.chunked else len(body)))
    size = pieces.size_bytes
    if not pieces.chunked:
        for at in range(0, len(body), size):
            connection.sendall(body[at : at + size])
        return
    # Framed beforehand and sent at once: what is measured is the chunks' size, not the segments'.
    framed = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size)
    )
    connection.sendall(framed + b"0\r\n\r\n")


def _head(status: int, kind: str | None, length: int | None) -> bytes:
    lines = [f"HTTP/1.1 {status} Answer"]
    if kind:
        lines.append(f"Content-Type: {kind}")
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()
