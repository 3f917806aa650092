"""A firmware body as a stream of image bytes, in fixed memory, whichever form the server sends.

The forms: the raw image; a JSON string of base64; a JSON object with that string as its `firmware` member. Base64 is
decoded by C functions on whole chunks; only what surrounds it is read byte by byte.
"""

import binascii

from micropython import const

from .errors import FinalError, RetryableError

_CHUNK_BYTES = const(2048)  # base64 characters held at a time
_AROUND_MAX_BYTES = const(16384)  # JSON text allowed before and after the firmware
_DEPTH_MAX = const(16)
_NAME_MAX = const(32)

_QUOTE = const(0x22)
_BACKSLASH = const(0x5C)
_SPACE = b" \t\r\n"


def open_body(reply):
    """The reply's body as something with `readinto(view) -> count`, 0 at the end. `size_bytes` is what it will give at
    most, None when the server did not say; `surplus_bytes` is how much lower the truth may be."""
    kind = reply.headers.get("content-type", "").lower()
    length = reply.headers.get("content-length", "")
    if "octet-stream" in kind:
        return RawBody(reply, int(length) if length.isdigit() else None)
    return JsonBody(reply, int(length) if length.isdigit() else None)


class RawBody:
    """The image as it is."""

    surplus_bytes = 0

    def __init__(self, reply, length_bytes: "int | None") -> None:
        self.size_bytes = length_bytes
        self.readinto = reply.readinto


class JsonBody:
    """A JSON string of base64, or an object with one as `firmware`; `readinto` gives the decoded bytes.

    RetryableError for a body that breaks off; FinalError for one that is no such JSON or no base64."""

    def __init__(self, reply, length_bytes: "int | None") -> None:
        self._reply = reply
        self._buffer = bytearray(_CHUNK_BYTES)
        self._view = memoryview(self._buffer)
        self._at = self._end = 0  # the unread part of the buffer
        self._held = b""  # text that cannot be decoded yet: part of a quantum, part of an escape
        self._data = memoryview(b"")  # decoded bytes that did not fit the caller's view
        self._around = 0
        self._closed = False  # the firmware's closing quote has been seen
        self._in_object = False
        self._find_firmware()
        # What is left is base64, perhaps padded, and the closing quote; an object may have more text behind it.
        self.surplus_bytes = _AROUND_MAX_BYTES if self._in_object else 2
        self.size_bytes = None if length_bytes is None else (length_bytes - self._around - 1) // 4 * 3

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the next bytes of the image; fewer only at the end, 0 once it is over."""
        done = 0
        while done < len(view):
            if not self._data:
                if self._closed:
                    break
                self._data = memoryview(self._decode())
            count = min(len(self._data), len(view) - done)
            view[done : done + count] = self._data[:count]
            self._data = self._data[count:]
            done += count
        return done

    def _decode(self) -> bytes:
        """Decode what has arrived of the string; b"" when that is less than a quantum."""
        if self._at == self._end:
            self._at, self._end = 0, self._reply.readinto(self._view)
            if self._end == 0:
                raise RetryableError("firmware_cut", "the firmware broke off before its closing quote")
        text = self._held + bytes(self._view[self._at : self._end])
        self._at = self._end
        quote = text.find(b'"')
        if quote >= 0:
            self._at -= len(text) - quote - 1
            self._closed = True
            text = text[:quote]
        escape = b""
        if b"\\" in text:
            text, escape = _unescape(text)
        if self._closed:
            if len(text) & 3 or escape:
                raise _not_base64()
            self._finish()
            return _a2b(text, True)
        # The last whole quantum waits as well: it may be the padded one, which only the closing quote tells.
        whole = (len(text) - 1) & ~3 if text else 0
        self._held = text[whole:] + escape
        return _a2b(text[:whole], False)

    # What surrounds the firmware: a small JSON reader, a byte at a time.

    def _fill(self) -> bool:
        """Make sure that there is a byte to read; False at the body's end."""
        if self._at == self._end:
            self._at, self._end = 0, self._reply.readinto(self._view)
        return self._end > 0

    def _next(self) -> int:
        if not self._fill():
            raise RetryableError("firmware_cut", "the firmware answer broke off")
        self._around += 1
        if self._around > _AROUND_MAX_BYTES:
            raise FinalError("bad_firmware_body", "the firmware answer has more than 16 KiB around the firmware")
        byte = self._buffer[self._at]
        self._at += 1
        return byte

    def _next_visible(self) -> int:
        while True:
            byte = self._next()
            if byte not in _SPACE:
                return byte

    def _find_firmware(self) -> None:
        byte = self._next_visible()
        if byte == _QUOTE:
            return
        if byte != ord("{"):
            raise FinalError("bad_firmware_body", "the firmware answer is neither an image nor JSON with one")
        self._in_object = True
        while True:
            name = self._name()
            byte = self._next_visible()
            if name == b"firmware":
                if byte != _QUOTE:
                    raise FinalError("bad_firmware_body", "the firmware in the answer is not a string")
                return
            if self._skip(byte) != ord(","):
                raise FinalError("bad_firmware_body", "the firmware answer has no firmware member")

    def _name(self) -> bytes:
        """A member's name and the colon after it."""
        if self._next_visible() == _QUOTE:
            name = self._string()
            if self._next_visible() == ord(":"):
                return name
        raise FinalError("bad_firmware_body", "the firmware answer is not JSON")

    def _string(self) -> bytes:
        """The string that has just begun, up to its closing quote (cut to a name's length, escapes as they are)."""
        text = bytearray()
        while True:
            byte = self._next()
            if byte == _QUOTE:
                return bytes(text)
            if len(text) < _NAME_MAX:
                text.append(byte)
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
                    raise FinalError("bad_firmware_body", "the firmware answer is nested too deep")
            elif byte in b"}]":
                if depth == 0:
                    return byte
                depth -= 1
            elif byte == ord(",") and depth == 0:
                return byte
            byte = self._next_visible()

    def _finish(self) -> None:
        """Read what follows the firmware: it must close the JSON text."""
        self._around = 0
        if self._in_object:
            byte = self._next_visible()
            while byte == ord(","):
                self._name()
                byte = self._skip(self._next_visible())
            if byte != ord("}"):
                raise FinalError("bad_firmware_body", "the firmware answer is not JSON after the firmware")
        # Without a length the connection may stay open behind the text, so nothing more is waited for.
        while self._reply.bounded and self._fill():
            if self._next() not in _SPACE:
                raise FinalError("bad_firmware_body", "the firmware answer goes on after its end")


def _not_base64() -> FinalError:
    return FinalError("bad_base64", "the firmware is not base64")


def _a2b(text: bytes, last: bool) -> bytes:
    """`text`, whole quanta of base64, decoded."""
    # a2b_base64 skips foreign characters and stops at padding; a full count of bytes shows that it met neither.
    spare = 0
    if last and text.endswith(b"="):
        spare = 2 if text.endswith(b"==") else 1
    try:
        data = binascii.a2b_base64(text)
    except ValueError:
        raise _not_base64()
    if len(data) != len(text) // 4 * 3 - spare:
        raise _not_base64()
    return data


def _unescape(text: bytes) -> "tuple[bytes, bytes]":
    """`text` without its JSON escapes, and the part of an escape that it ends with."""
    rest = b""
    slash = text.rfind(b"\\")
    if len(text) - slash < (6 if text[slash + 1 : slash + 2] == b"u" else 2):
        rest = text[slash:]
        text = text[:slash]
    text = text.replace(b"\\/", b"/")
    while True:
        at = text.find(b"\\")
        if at < 0:
            return text, rest
        escape = text[at : at + 6]
        try:
            code = int(str(escape[2:], "ascii"), 16)
        except ValueError:
            code = 0
        if escape[1:2] != b"u" or not 0x20 < code < 0x7F or code == _BACKSLASH:
            raise _not_base64()
        text = text.replace(escape, bytes([code]))
