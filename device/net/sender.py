"""Sending a request: its address taken apart, its message, and the connection that it goes over."""

from agent.errors import AgentError, PermanentError, RetryableError
from agent.runner import Next, run
from micropython import const

_PORTS = {"http": 80, "https": 443}
_PORT_MAX = const(65535)


class Address:
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


def send_request(method: str, url: str, data: "bytes | None", headers: dict, ca: str, link):
    """Send the request over the link's connection if that is still good, otherwise over a new one; return which.

    Its answer is still to be read. AgentError, and whatever sockets raise, when it cannot be sent."""
    address = Address(url)
    message = _message(method, address, data, headers)
    if link and link.raw:
        raw = run("net.connection", "reuse", link, address.origin, message)
        if raw:
            return raw
    if link:
        link.origin = address.origin
    return Next("net.connection", "open_connection", address.host, address.port, address.uses_tls, ca, message)


def _message(method: str, address: Address, data: "bytes | None", headers: dict) -> bytes:
    text = f"{method} {address.path} HTTP/1.1\r\nHost: {address.host_field}\r\n"
    for name, value in headers.items():
        text += f"{name}: {value}\r\n"
    if method != "GET" and "Transfer-Encoding" not in headers:
        text += f"Content-Length: {len(data or b'')}\r\n"
    if not address.uses_tls:
        text += "Connection: close\r\n"
    return (text + "\r\n").encode() + (data or b"")


def unreachable(url: str, error: Exception) -> AgentError:
    """Return the error for a server whose connection has failed with this one."""
    unknown = isinstance(error, OSError) and (error.errno or 0) < 0  # so says getaddrinfo
    return RetryableError(
        "no_address" if unknown else "no_answer", Address(url).host, run("agent.sentences", "reason", error)
    )


def redirected(url: str) -> AgentError:
    """Return the error for a server that sends us to another one."""
    return RetryableError("redirect", Address(url).host)
