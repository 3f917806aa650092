"""A pipe between board and server that counts what goes through it: connections, requests, bytes received."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"^(GET|PUT|POST|DELETE|HEAD|PATCH) (\S+) HTTP/1\.[01]\r$", re.M)


@dataclass
class Wire:
    """What has gone through so far; `url` leads to the server behind it."""

    url: str
    connections: int = 0
    received_bytes: int = 0
    requests: list[str] = field(default_factory=list)


@contextlib.contextmanager
def between(server_url: str) -> Iterator[Wire]:
    """A wire to the server, as long as the block lasts."""
    server = urlsplit(server_url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # As the server does: a small piece is not held back.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def accept() -> None:
            while True:
                try:
                    board, _ = listener.accept()
                except OSError:
                    return
                wire.connections += 1
                threading.Thread(target=carry, args=(board,), daemon=True).start()

        def carry(board: socket.socket) -> None:
            sent = b""
            with board, socket.create_connection((server.hostname, server.port)) as behind:
                behind.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=bring, args=(behind, board), daemon=True).start()
                with contextlib.suppress(OSError):
                    while data := board.recv(65536):
                        sent += data
                        *whole, sent = sent.rpartition(b"\n")
                        found = _REQUEST.findall(b"".join(whole))
                        wire.requests += [f"{method.decode()} {path.decode()}" for method, path in found]
                        behind.sendall(data)
                    behind.shutdown(socket.SHUT_WR)

        def bring(behind: socket.socket, board: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := behind.recv(65536):
                    wire.received_bytes += len(data)
                    board.sendall(data)
                board.shutdown(socket.SHUT_WR)

        threading.Thread(target=accept, daemon=True).start()
        yield wire
        listener.shutdown(socket.SHUT_RDWR)
