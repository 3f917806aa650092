"""The web server of the setup: one page, few connections, and bounds for all that comes."""

import socket
import time

from agent.runner import run
from micropython import const

_PORT = const(80)
_REQUESTS_MAX = const(4)  # browsers open one or two more than they use
_REQUEST_MS = const(5000)
_SEND_S = const(3)
_EAGAIN = const(11)
_PIECE_BYTES = const(512)
_LINE_MAX_BYTES = const(1024)
_REQUEST_MAX_BYTES = const(8192)
_BODY_MAX_BYTES = const(1024)

_TO_PAGE = const(b"HTTP/1.1 303 See Other\r\nLocation: /\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n")
_BAD = const(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
_PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"X-Frame-Options: DENY\r\nConnection: close\r\n\r\n"
)


class Request:
    """A request as it comes in over its connection: `method`, `path` and `body` when it is whole. Of one that has been
    refused, what still comes is thrown away."""

    def __init__(self, connection=None) -> None:
        self.connection = connection
        self.begun_ms = time.ticks_ms()
        self.is_refused = False
        self.method = b""
        self.path = b""
        self.body: bytes | None = None
        self._host = self._origin = b""
        self._rest = b""  # what has come of the next line, or of the body
        self._received_bytes = 0
        self._body_bytes = 0
        self._in_head = True

    def take(self, data: bytes) -> bool:
        """Take the next bytes; True when the request is whole. ValueError when it cannot be one."""
        self._rest += data
        self._received_bytes += len(data)
        while self._in_head:
            line, found, rest = self._rest.partition(b"\n")
            if len(line) > _LINE_MAX_BYTES or self._received_bytes > _REQUEST_MAX_BYTES:
                raise ValueError
            if not found:
                return False
            self._rest = rest
            self._take_line(line.rstrip(b"\r"))
        if len(self._rest) < self._body_bytes:
            return False
        self.body = self._rest[: self._body_bytes]
        return True

    def _take_line(self, line: bytes) -> None:
        if not self.method:
            self.method, self.path, version = line.split(b" ")
            if self.method not in (b"GET", b"HEAD", b"POST") or version not in (b"HTTP/1.1", b"HTTP/1.0"):
                raise ValueError
        elif line:
            name, _, value = line.partition(b":")
            name, value = name.lower(), value.strip()
            if name == b"content-length":
                if not value.isdigit() or len(value) > 5 or int(value) > _BODY_MAX_BYTES:
                    raise ValueError
                self._body_bytes = int(value)
            elif name == b"host":
                self._host = value
            elif name == b"origin":
                self._origin = value
            elif name == b"transfer-encoding":
                raise ValueError
        else:
            self._in_head = False
            # What another site's page sends is not the owner's.
            if self._origin not in (b"", b"null", b"http://" + self._host):
                raise ValueError


class Web:
    """Answers on port 80."""

    def __init__(self, portal, address: str) -> None:
        self._portal = portal
        self._requests: list = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(socket.getaddrinfo("0.0.0.0", _PORT)[0][-1])
        self._listener.listen(_REQUESTS_MAX)
        self._listener.setblocking(False)

    def look(self) -> None:
        """Take in who has come, and answer who has asked."""
        if len(self._requests) < _REQUESTS_MAX:
            try:
                connection = self._listener.accept()[0]
                connection.setblocking(False)
                self._requests.append(Request(connection))
            except OSError:  # nobody has come
                pass
        for request in tuple(self._requests):
            try:
                done = self._advance(request)
            except OSError as error:
                done = error.errno != _EAGAIN
            if done or time.ticks_diff(time.ticks_ms(), request.begun_ms) > _REQUEST_MS:
                self._requests.remove(request)
                request.connection.close()

    def close(self) -> None:
        """Close the port."""
        for request in self._requests:
            request.connection.close()
        self._listener.close()

    def _advance(self, request) -> bool:
        """Take what has come of a request; True when nothing is left to do for it. OSError when nothing has come."""
        data = request.connection.recv(_PIECE_BYTES)
        if request.is_refused or not data:
            return not data
        try:
            if not request.take(data):
                return False
            if request.method == b"POST":
                run("setup.form", "take_form", self._portal, request.body)
        except ValueError:
            request.is_refused = True
            request.connection.send(_BAD)
            return False
        if request.path == b"/":  # not a phone by itself, which asks now and then whether the network leads anywhere
            self._portal.seen_ms = time.ticks_ms()
        self._answer(request, _Writer(request.connection))
        return True

    def _answer(self, request, writer) -> None:
        if request.path != b"/" or request.method == b"POST":
            writer.write(_TO_PAGE)
        else:
            writer.write(_PAGE)
            if request.method == b"GET":
                run("setup.page", "write_page", self._portal, writer.write)
        writer.flush()


class _Writer:
    """Sends in pieces that fill a packet."""

    def __init__(self, connection) -> None:
        connection.settimeout(_SEND_S)
        self._connection = connection
        self._held = b""

    def write(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= _LINE_MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        while self._held:
            self._held = self._held[self._connection.send(self._held) :]
