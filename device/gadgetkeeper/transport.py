"""HTTP for the agent: one call with `urequests.request`'s signature, and a reply that is complete or an error.

`http://` goes through urequests where the board has it. urequests would wait for ever for a server that sends a byte
now and then, and would follow a redirect with every header, the API key included. So it gets a socket of ours, which
sends what urequests writes and keeps the answer for `Reply`. `https://`, which urequests does not verify, and runtimes
without urequests are the business of `client`.
"""

import socket

from micropython import const

from .errors import AgentError, FinalError, RetryableError
from .reply import Reply, bad, reason

_CONNECT_TIMEOUT_S = const(15)
_HEAD_MAX_BYTES = const(8192)
_LINE_BYTES = const(64)  # what a line counts beside its length
_LENGTH_MAX_DIGITS = const(9)

_KEPT_HEADERS = (
    " connection content-encoding content-length content-range content-type date etag retry-after transfer-encoding "
)


class Session:
    """Calls to a server. `ca` is the file with the certificates that an https server is trusted by, "" for none."""

    def __init__(self, ca: str = "") -> None:
        self.ca = ca
        self.kept: list = []  # [the connection that the last reply has left open, or None]
        self.origin = ""  # of that connection

    def request(self, method: str, url: str, data: "bytes | None" = None, headers: "dict | None" = None) -> Reply:
        """Send one request; the reply's head has been read, its body not. The caller closes it before the next request.

        RetryableError when the server cannot be reached, cannot be verified, redirects, or does not answer as it
        should; FinalError for a bad address, and https without `ca`."""
        origin, host, port, path = _split(url)
        headers = dict(headers or {})
        headers["Host"] = origin.partition("//")[2]
        if method != "GET":
            headers["Content-Length"] = str(len(data or b""))
        try:
            reply = None
            if origin[4] != "s":
                headers["Connection"] = "close"
                try:
                    import urequests

                    reply = _urequest(urequests, method, url, data, headers)
                except ImportError:
                    pass
            if not reply:
                from .client import exchange

                reply = exchange(self, origin, host, port, method, path, data, headers)
        except AgentError:
            raise
        except Exception as error:  # whatever the bytes of a server make urequests or TLS stumble over
            unknown = isinstance(error, OSError) and (error.errno or 0) < 0  # so says getaddrinfo
            raise RetryableError("no_address" if unknown else "no_answer", host, reason(error))
        if 300 <= reply.status_code < 400:
            # The API key and the serial number go nowhere else.
            reply.close()
            raise RetryableError("redirect", host)
        return reply

    def close(self) -> None:
        """Close the connection that was kept for the next request. A reply that is being read stays as it is."""
        if self.kept:
            from .client import take_kept

            take_kept(self, "")


class _Guard:
    """What urequests takes for the module `socket`, and for the one socket it gets there."""

    SOCK_STREAM = socket.SOCK_STREAM

    def __init__(self) -> None:
        self.getaddrinfo = socket.getaddrinfo
        self.reply: Reply = None  # type: ignore[assignment]
        self.raw: socket.socket = None  # type: ignore[assignment]

    def socket(self, *kind) -> "_Guard":
        self.raw = raw = socket.socket(*kind)
        self.settimeout, self.connect, self.write, self.close = raw.settimeout, raw.connect, raw.write, raw.close
        return self

    def readline(self) -> bytes:
        """An answer that urequests has no trouble with, once the true one's head is in `reply`."""
        if self.reply:
            return b"\r\n"
        self.raw.setblocking(False)
        self.reply = Reply(self.raw, [])
        read_head(self.reply)
        return b"HTTP/1.0 200 OK\r\n"


def _urequest(urequests, method: str, url: str, data: "bytes | None", headers: dict) -> Reply:
    guard = _Guard()
    names = urequests.request.__globals__
    names["socket"] = guard
    try:
        urequests.request(method, url, data=data, headers=headers, timeout=_CONNECT_TIMEOUT_S)
    except BaseException:
        if guard.raw:
            guard.raw.close()
        raise
    finally:
        names["socket"] = socket
    return guard.reply


def read_head(reply: Reply) -> None:
    """Read status line and headers of an answer; interim answers (1xx) before it are skipped."""
    room = _HEAD_MAX_BYTES
    headers = reply.headers
    while reply.status_code < 200:
        headers.clear()
        line = reply.line()
        version, _, status = line.partition(b" ")
        if version[:7] != b"HTTP/1." or not status[:3].isdigit() or status[3:4].strip():
            raise bad("no HTTP")
        reply.status_code = int(status[:3])
        while line:
            room -= len(line) + _LINE_BYTES
            if room < 0:
                raise bad("too long")
            line = reply.line()
            field, _, value = line.partition(b":")
            value = value.strip()
            try:
                name = str(field, "utf-8").lower()
                if f" {name} " not in _KEPT_HEADERS:
                    continue
                if name in headers and name[-6:] in ("length", "coding"):
                    raise bad("length")
                if name == "content-length" and (not value.isdigit() or len(value) > _LENGTH_MAX_DIGITS):
                    raise bad("length")
                headers[name] = str(value, "utf-8")
            except ValueError:  # not UTF-8
                raise bad("no HTTP")
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if headers.get("content-encoding", "identity") != "identity" or (
        coding is not None and (coding.lower() != "chunked" or length)
    ):
        raise bad("coding")
    if reply.status_code == 204 or coding:
        reply.left = 0
        reply.chunked = reply.status_code != 204
    elif length:
        reply.left = int(length)
    if reply.left is None or version == b"HTTP/1.0" or headers.get("connection", "").lower() == "close":
        reply.kept = []


def _split(url: str) -> "tuple[str, str, int, str]":
    """Of an address: origin, host, port and path."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    host, _, digits = place.partition(":")
    usual = {"http": 80, "https": 443}.get(scheme, 0)
    try:
        port = int(digits or usual)
    except ValueError:
        port = 0
    if not host or not usual or not 0 < port < 65536:
        raise FinalError("bad_server", place.rpartition("@")[2])
    return scheme + "://" + place, host, port, "/" + path
