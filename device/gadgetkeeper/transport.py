"""HTTP for the agent: one call with `urequests.request`'s signature, and a reply that is complete or an error.

`http://` goes through urequests where the board has it. urequests hands out a bare socket and would follow a redirect
with every header, the API key included, so what it returns is wrapped in `Reply`, and a redirect is refused. On
runtimes without urequests, and for answers urequests cannot take (chunked), `_request` below speaks HTTP/1.1 itself.
"""

import select
import socket
import time

from micropython import const

from .errors import AgentError, FinalError, RetryableError

_CONNECT_TIMEOUT_S = const(15)
_STALL_MS = const(15000)
_TOTAL_MS = const(900000)
_LINE_MAX_BYTES = const(1024)
_HEADERS_MAX = const(64)
_JSON_MAX_BYTES = const(4096)
_EAGAIN = const(11)

_KEPT_HEADERS = ("content-length", "content-type", "transfer-encoding", "location", "etag", "content-range")


class Session:
    """The calls of one conversation."""

    def __init__(self, ca: str = "") -> None:
        self._ca = ca

    def request(self, method: str, url: str, data=None, headers=None):
        return request(method, url, data, headers)

    def close(self) -> None:
        pass


class _Redirect(OSError):
    """Raised out of urequests' header parser, before it follows; as an OSError so that it closes its socket."""


class _Chunked(OSError):
    pass


def request(method: str, url: str, data: "bytes | None" = None, headers: "dict | None" = None) -> "Reply":
    """Send one request; the reply's head has been read, its body not. The caller closes the reply.

    RetryableError when the server cannot be reached or does not answer; FinalError for a redirect or a bad address."""
    host, port, path = _split(url)
    sent = {"Host": host if port == 80 else f"{host}:{port}", "Connection": "close"}
    sent.update(headers or {})
    if method != "GET":
        sent["Content-Length"] = str(len(data or b""))
    try:
        try:
            import urequests
        except ImportError:
            return _request(method, host, port, path, data, sent)
        try:
            return _urequest(urequests, method, url, data, sent)
        except _Chunked:
            return _request(method, host, port, path, data, sent)
    except AgentError:
        raise
    except _Redirect as error:
        raise FinalError("redirect", f"{host} redirects to {error}: set the server address to where it lives")
    except Exception as error:  # urequests raises whatever a server's bytes make it stumble over
        raise RetryableError("no_answer", f"{host} does not answer ({_reason(error)})")


def _urequest(urequests, method: str, url: str, data: "bytes | None", headers: dict) -> "Reply":
    kept: dict = {}

    def keep(line: bytes, _all: dict) -> None:
        _keep_header(line, kept)
        if "location" in kept:
            raise _Redirect(kept["location"])

    if data:
        del headers["Content-Length"]  # urequests writes it itself when there is a body, and only then
    try:
        response = urequests.request(
            method, url, data=data, headers=headers, timeout=_CONNECT_TIMEOUT_S, parse_headers=keep
        )
    except ValueError as error:
        if "Transfer-Encoding" in str(error):
            raise _Chunked()
        raise
    return Reply(response.raw, response.status_code, kept)


def _request(method: str, host: str, port: int, path: str, data: "bytes | None", headers: dict) -> "Reply":
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    raw = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        raw.settimeout(_CONNECT_TIMEOUT_S)
        raw.connect(address[-1])
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {headers[name]}" for name in headers]
        head = "\r\n".join(lines) + "\r\n\r\n"
        _send(raw, head.encode() + (data or b""))
        reply = Reply(raw, 0, {})
        try:
            reply.read_head()
        except RetryableError as error:
            if error.code == "body_cut":
                raise RetryableError("no_answer", f"{host} hangs up before it has answered")
            raise
        if "location" in reply.headers and not 200 <= reply.status_code <= 299:
            raise _Redirect(reply.headers["location"])
        return reply
    except BaseException:
        raw.close()
        raise


class Reply:
    """One answer: `status_code`, the few `headers` the agent looks at (lower-case names), and the body.

    The body is read with `readinto` or `json`, within fixed limits of time; it is complete or a RetryableError."""

    def __init__(self, raw, status_code: int, headers: dict) -> None:
        self.raw = raw
        self.status_code = status_code
        self.headers = headers
        self._read = getattr(raw, "readinto", None) or raw.recv_into
        self._poller = select.poll()
        self._poller.register(raw, select.POLLIN)
        self._one = bytearray(1)
        self._left: int | None = 0  # bytes of the body, or of its chunk, still to come
        self._deadline_ms = time.ticks_add(time.ticks_ms(), _TOTAL_MS)
        raw.setblocking(False)  # with poll, a read gives what is there and every wait has a limit
        self._set_length()

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        if self.raw:
            self.raw.close()
            self.raw = None

    @property
    def bounded(self) -> bool:
        """True when the body's end is marked, by a length or by chunks; False when it ends with the connection."""
        return self._left is not None

    def readinto(self, view: memoryview) -> int:
        """Put the next bytes of the body into `view`; how many, 0 at the body's end. RetryableError when it is cut."""
        if self._chunked and self._left == 0 and not self._ended:
            self._next_chunk()
        if self._left == 0:
            return 0
        if self._left is not None and self._left < len(view):
            view = view[: self._left]
        count = self._receive(view)
        if self._left is not None:
            if count == 0:
                raise RetryableError("body_cut", f"the answer broke off, {self._left} bytes were still to come")
            self._left -= count
            if self._chunked and self._left == 0:
                self._line()  # the line end after the chunk's data
        elif count == 0:
            self._left = 0
        return count

    def json(self) -> object:
        """The body as JSON. RetryableError when it is too long, cut, or not JSON."""
        import json

        body = bytearray(_JSON_MAX_BYTES)
        view = memoryview(body)
        size = 0
        while True:
            if size == _JSON_MAX_BYTES:
                raise RetryableError("bad_answer", f"the answer is longer than {_JSON_MAX_BYTES} bytes")
            count = self.readinto(view[size:])
            if count == 0:
                break
            size += count
        try:
            return json.loads(bytes(view[:size]))
        except ValueError:
            raise RetryableError("bad_answer", "the answer is not JSON")

    def read_head(self) -> None:
        """Read status line and headers from the connection (interim 1xx answers are skipped)."""
        while True:
            parts = self._line().split(None, 2)
            if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
                raise RetryableError("bad_answer", "the answer is not HTTP")
            self.status_code = int(parts[1])
            for _ in range(_HEADERS_MAX):
                line = self._line()
                if not line:
                    break
                _keep_header(line, self.headers)
            else:
                raise RetryableError("bad_answer", "the answer has too many headers")
            if self.status_code >= 200:
                break
        self._set_length()

    def _set_length(self) -> None:
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self._ended = False
        length = self.headers.get("content-length")
        if self._chunked or self.status_code in (204, 304):
            self._left = 0
        elif length is None:
            self._left = None  # the body ends with the connection; its content must show whether it is whole
        elif length.isdigit():
            self._left = int(length)
        else:
            raise RetryableError("bad_answer", "the answer's Content-Length is not a number")

    def _next_chunk(self) -> None:
        size = self._line().split(b";", 1)[0]
        try:
            self._left = int(size, 16)
        except ValueError:
            self._left = -1
        if self._left < 0:
            raise RetryableError("bad_answer", "the answer's chunk size is not a number")
        if self._left == 0:
            self._ended = True
            while self._line():  # trailers
                pass

    def _line(self) -> bytes:
        line = bytearray()
        while True:
            if not self._receive(self._one):
                raise RetryableError("body_cut", "the answer broke off")
            if self._one == b"\n":
                return bytes(line).rstrip(b"\r")
            if len(line) == _LINE_MAX_BYTES:
                raise RetryableError("bad_answer", f"the answer has a line longer than {_LINE_MAX_BYTES} bytes")
            line.extend(self._one)

    def _receive(self, view) -> int:
        stall_ms = time.ticks_add(time.ticks_ms(), _STALL_MS)
        while True:
            now = time.ticks_ms()
            wait_ms = min(time.ticks_diff(stall_ms, now), time.ticks_diff(self._deadline_ms, now))
            if wait_ms <= 0:
                raise RetryableError("stalled", "the answer stopped coming")
            self._poller.poll(wait_ms)
            try:
                count = self._read(view)
            except OSError as error:
                if error.errno != _EAGAIN:
                    raise RetryableError("body_cut", f"the connection broke ({_reason(error)})")
                count = None
            if count is not None:
                return count


def _keep_header(line: bytes, kept: dict) -> None:
    field, _, value = line.partition(b":")
    try:
        name = str(field, "utf-8").strip().lower()
        if name in _KEPT_HEADERS:
            kept[name] = str(value, "utf-8").strip()
    except ValueError:  # not UTF-8: none of ours
        pass


def _send(raw, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[raw.send(view) :]


def _split(url: str) -> "tuple[str, int, str]":
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    host, colon, port = host.partition(":")
    if scheme != "http":
        raise FinalError("bad_server", f"server address {url}: it must begin with http://")
    number = int(port) if port.isdigit() else 0 if colon else 80
    if not host or not 0 < number < 65536:
        raise FinalError("bad_server", f"server address {url}: it must be like http://host or http://host:8080")
    return host, number, "/" + path


def _reason(error: Exception) -> str:
    import errno

    if isinstance(error, OSError) and error.args:
        return getattr(errno, "errorcode", {}).get(error.args[0], str(error.args[0]))
    return type(error).__name__
