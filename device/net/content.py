"""The body of a response as a whole."""

import json

from agent.errors import RetryableError
from micropython import const

_CONTENT_MAX_BYTES = const(8192)
_PIECE_BYTES = const(256)


def read_content(response) -> bytes:
    """Return the whole body. RetryableError when it is cut, or longer than 8 KiB."""
    content = b""
    piece = memoryview(bytearray(_PIECE_BYTES))
    while True:
        count = response.take(piece)
        if count == 0:
            return content
        content += piece[:count]
        if len(content) > _CONTENT_MAX_BYTES:
            raise RetryableError("bad_answer", "too long")


def read_json(response) -> object:
    """Return the body as JSON. RetryableError when it is too long, cut, or not JSON."""
    return parse_json(read_content(response))


def check_acknowledgement(response) -> None:
    """Check that the body is empty, or JSON. RetryableError otherwise."""
    content = read_content(response)
    if content:
        parse_json(content)


def parse_json(content: bytes) -> object:
    """Return what this body says. RetryableError when it is not JSON."""
    try:
        return json.loads(str(content, "utf-8"))
    except (ValueError, RuntimeError, MemoryError):  # the last two: nested too deep
        raise RetryableError("bad_answer", "no JSON")
