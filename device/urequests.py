"""Requests that a product makes, with the interface of micropython-lib's `requests`; the agent never loads this.

docs/another-product.md says where it differs on purpose: TLS is verified, no redirects, limits of time and size.
"""

import json as _json

from agent.runner import run
from micropython import const

_FRAMING = const(" connection content-length host transfer-encoding ")


class Response:
    """The answer to a request: `status_code`, a few `headers` (lower-case names), and the body: whole or as a stream.
    RetryableError when it is cut, or a whole one is longer than 8 KiB."""

    encoding = "utf-8"

    def __init__(self, response) -> None:
        self.status_code = response.status_code
        self.headers = response.headers
        self.readinto = response.readinto
        self.close = response.close
        self.raw = self
        self._response = response
        self._content: bytes | None = None

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of the body, none at its end."""
        piece = bytearray(size)
        return bytes(piece[: self.readinto(memoryview(piece))])

    @property
    def content(self) -> bytes:
        """The whole body; the connection is closed then."""
        if self._content is None:
            try:
                self._content = run("net.content", "read_content", self._response)
            finally:
                self.close()
        return self._content

    @property
    def text(self) -> str:
        """The whole body as text; ValueError when it is none in `encoding`."""
        return str(self.content, self.encoding)

    def json(self) -> object:
        """Return the whole body as JSON. RetryableError when it is none."""
        return run("net.content", "parse_json", self.content)


def request(
    method: str,
    url: str,
    data=None,
    json: object = None,
    headers: "dict | None" = None,
    stream=None,
    auth: "tuple | None" = None,
    timeout: "float | None" = None,
    parse_headers=True,
    ca: str = "",
) -> Response:
    """Send one request, and return its Response. `data` is text, bytes or an iterator over either; `auth` is a name and
    a password; `ca` names a file with the certificates to trust in place of the device's. `stream`, `timeout` and
    `parse_headers` change nothing: each wait has a fixed limit, docs/another-product.md says which.

    AgentError when there is no answer, or the server is not verified; ValueError for a request that is not sent."""
    fields = {"User-Agent": "micropython"}  # firewalls refuse who does not say
    fields.update(headers or {})
    text = method + url
    for name in fields:
        text += name + fields[name]
        if f" {name.lower()} " in _FRAMING:
            raise ValueError(name)
    if "\n" in text or "\r" in text:
        raise ValueError("line break")
    if auth:
        import binascii

        credentials = "{}:{}".format(*auth).encode()
        fields["Authorization"] = "Basic " + binascii.b2a_base64(credentials)[:-1].decode()
    if json is not None:
        data = _json.dumps(json)
        fields.setdefault("Content-Type", "application/json")
    if hasattr(data, "__next__"):
        fields["Transfer-Encoding"] = "chunked"
        data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in map(_encoded, data) if part) + b"0\r\n\r\n"
    data = _encoded(data)
    if data and method == "GET" and "Transfer-Encoding" not in fields:
        fields["Content-Length"] = str(len(data))
    if url.startswith("https"):
        ca = _trusted(ca)
    response = run("net.urequests", "request", method, url, data, fields, ca)
    if method == "HEAD":
        response.left_bytes, response.chunked = 0, False
    return Response(response)


def _encoded(data):
    return data.encode() if isinstance(data, str) else data


_device_ca: "str | None" = None  # once it has been looked up; a product's next start loads this module anew


def _trusted(ca: str) -> str:
    """Return the file of certificates to trust, with a clock that can tell which of them are valid."""
    global _device_ca
    if _device_ca is None:
        from agent.device import Device
        from machine import RTC

        device = Device(None, None)
        run("agent.settings_reader", "load_settings", device)
        settings = device.settings.__dict__
        run("net.clock", "adjust", RTC(), max(settings["made_at"], settings["built_at"]), settings["ntp"])
        _device_ca = settings["ca"]
    return ca or _device_ca


def _sender(method: str):
    return lambda url, **options: request(method, url, **options)


get, head, post = _sender("GET"), _sender("HEAD"), _sender("POST")
put, patch, delete = _sender("PUT"), _sender("PATCH"), _sender("DELETE")
