"""JSON's escapes, which some servers write into base64."""

from agent.errors import RetryableError
from micropython import const

_BACKSLASH = const(0x5C)
_LINE_ENDS = const((0x0A, 0x0D))


def unescape(text: bytes) -> "tuple[bytes, bytes]":
    """Return `text` without its JSON escapes, and the part of an escape that it ends with. RetryableError for an escape
    that stands for nothing in base64."""
    rest = b""
    slash = text.rfind(b"\\")
    if len(text) - slash < (6 if text[slash + 1 : slash + 2] == b"u" else 2):
        rest = text[slash:]
        text = text[:slash]
    text = text.replace(b"\\/", b"/").replace(b"\\r", b"").replace(b"\\n", b"")  # in lines, as MIME and PEM have it
    while True:
        at = text.find(b"\\")
        if at < 0:
            return text, rest
        escape = text[at : at + 6]
        try:
            code = int(str(escape[2:], "ascii"), 16)
        except ValueError:
            code = 0
        if escape[1:2] != b"u" or not (0x20 < code < 0x7F or code in _LINE_ENDS) or code == _BACKSLASH:
            raise RetryableError("bad_base64")
        text = text.replace(escape, b"" if code in _LINE_ENDS else bytes((code,)))
