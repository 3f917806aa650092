"""HTTP/1.1 requests, with urequests' interface: verified TLS, limits of time and size, no redirects.

Stock urequests waits for ever for a server that sends a byte now and then, verifies no certificate, and follows a
redirect with every header, the API key included.
"""

from agent.errors import AgentError, PermanentError, RetryableError, reason
from agent.runner import run
from micropython import const

from .response import Response

_PORTS = {"http": 80, "https": 443}
_PORT_MAX = const(65535)


class _Address:
    """An address like "https://host:8443/path", taken apart. PermanentError when it is none."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        place, _, path = rest.partition("/")
        self.uses_tls = scheme == "https"
        self.origin = scheme + "://" + place
        self.host_field = place
        self.host, _, port = place.partition(":")
        self.path = "/" + path
        try:
            self.port = int(port or _PORTS.get(scheme, 0))
        except ValueError:
            self.port = 0
        if not self.host or scheme not in _PORTS or not 0 < self.port <= _PORT_MAX:
            raise PermanentError("bad_server", place.rpartition("@")[2])


def request(method: str, url: str, data: "bytes | None" = None, headers: "dict | None" = None, ca="", link=None):
    """Send one request, and return its Response: the head has been read, the body not. The caller closes it.

    `ca` is the file with the certificates that an https server is trusted by; `link` keeps the connection for the next
    request. RetryableError when the server cannot be reached, cannot be verified, redirects, or does not answer as it
    should; PermanentError for a bad address, and for https without `ca`."""
    address = _Address(url)
    message = _message(method, address, data, headers)
    try:
        response = _exchange(address, message, ca, link)
    except AgentError:
        raise
    except Exception as error:  # whatever sockets and TLS stumble over
        unknown = isinstance(error, OSError) and (error.errno or 0) < 0  # so says getaddrinfo
        raise RetryableError("no_address" if unknown else "no_answer", address.host, reason(error))
    if 300 <= response.status_code < 400:
        # The API key and the serial number go nowhere else.
        response.close()
        raise RetryableError("redirect", address.host)
    return response


def _message(method: str, address: _Address, data: "bytes | None", headers: "dict | None") -> bytes:
    text = f"{method} {address.path} HTTP/1.1\r\nHost: {address.host_field}\r\n"
    for name, value in (headers or {}).items():
        text += f"{name}: {value}\r\n"
    if method != "GET" and "Transfer-Encoding" not in (headers or {}):
        text += f"Content-Length: {len(data or b'')}\r\n"
    if not address.uses_tls:
        text += "Connection: close\r\n"
    return (text + "\r\n").encode() + (data or b"")


def _exchange(address: _Address, message: bytes, ca: str, link) -> Response:
    """Send the message, over the link's connection if that is still good, and read the response's head."""
    raw = run("net.connection", "reuse", link, address.origin) if link and link.raw else None
    while True:
        fresh = raw is None
        if fresh:
            raw = run("net.connection", "open_connection", address, ca, message)
        response = Response(raw, link if address.uses_tls else None)
        try:
            if not fresh:
                run("net.connection", "send", raw, message, address.host)
            run("net.head", "read_head", response)
        except BaseException:
            raw.close()  # type: ignore[union-attr]
            # A server may close a kept connection at any time: what it has not begun to answer is sent once more.
            if fresh or response.begun:
                raise
            raw = None
            continue
        if link:
            link.origin = address.origin
        return response
