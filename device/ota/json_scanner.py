"""The JSON text around a firmware, read byte by byte: what stands before and behind the string of base64."""

from agent.errors import RetryableError
from micropython import const

_SURROUNDING_MAX_BYTES = const(16384)  # JSON text allowed before and behind the firmware
_DEPTH_MAX = const(16)
_NAME_MAX = const(32)

_SPACE = const(b" \t\r\n")
_QUOTE = const(0x22)
_BACKSLASH = const(0x5C)
_COMMA = const(0x2C)
_COLON = const(0x3A)
_OPEN = const(0x7B)
_CLOSE = const(0x7D)


class JsonScanner:
    """A position in the text of `response`; the buffer `view` holds it from `at` to `end`; `count` bytes were read.

    `room_bytes` is how much text may follow. RetryableError when the text breaks off, or is no JSON with a firmware."""

    room_bytes = _SURROUNDING_MAX_BYTES

    def __init__(self, response, view: memoryview, at: int = 0, end: int = 0) -> None:
        self._response = response
        self._view = view
        self.at = at
        self.end = end
        self.count = 0

    def find_firmware(self) -> bool:
        """Go behind the firmware's opening quote. Return True when an object holds it, False when it is all."""
        byte = self._next_visible()
        if byte == _QUOTE:
            return False
        if byte != _OPEN:
            raise _not_json("no JSON")
        while True:
            name = self._name()
            byte = self._next_visible()
            if name == b"firmware":
                if byte != _QUOTE:
                    raise _not_json("no string")
                return True
            if self._skip(byte) != _COMMA:
                raise _not_json("no firmware")

    def finish(self, in_object: bool) -> None:
        """Read what follows the firmware's closing quote: it must close the JSON text."""
        if in_object:
            byte = self._next_visible()
            while byte == _COMMA:
                self._name()
                byte = self._skip(self._next_visible())
            if byte != _CLOSE:
                raise _not_json("no JSON")
        # Without a length the connection may stay open behind the text, so nothing more is waited for.
        while self._response.bounded and self._fill():
            if self._next() not in _SPACE:
                raise _not_json("no JSON")

    def _fill(self) -> bool:
        """Make sure that there is a byte to read; False at the body's end."""
        if self.at == self.end:
            self.at, self.end = 0, self._response.readinto(self._view)
        return self.end > 0

    def _next(self) -> int:
        if not self._fill():
            raise RetryableError("firmware_cut")
        self.count += 1
        if self.count > _SURROUNDING_MAX_BYTES:
            raise _not_json("too long")
        self.at += 1
        return self._view[self.at - 1]

    def _next_visible(self) -> int:
        while True:
            byte = self._next()
            if byte not in _SPACE:
                return byte

    def _name(self) -> bytes:
        """A member's name and the colon after it."""
        if self._next_visible() == _QUOTE:
            name = self._string()
            if self._next_visible() == _COLON:
                return name
        raise _not_json("no JSON")

    def _string(self) -> bytes:
        """The string that has just begun, up to its closing quote (cut to a name's length, escapes as they are)."""
        text = b""
        while True:
            byte = self._next()
            if byte == _QUOTE:
                return text
            if len(text) < _NAME_MAX:
                text += bytes((byte,))
            if byte == _BACKSLASH:
                self._next()

    def _skip(self, byte: int) -> int:
        """Skip the value that begins with `byte`; the first visible byte after it."""
        depth = 0
        while True:
            if byte == _QUOTE:
                self._string()
            elif byte in b"{[":
                depth += 1
                if depth > _DEPTH_MAX:
                    raise _not_json("too long")
            elif byte in b"}]":
                if depth == 0:
                    return byte
                depth -= 1
            elif byte == _COMMA and depth == 0:
                return byte
            byte = self._next_visible()


def _not_json(detail: str) -> RetryableError:
    return RetryableError("bad_firmware_body", detail)
