"""A firmware body as a stream of image bytes, in fixed memory, whichever form the server sends.

The forms: the raw image; a JSON string of base64; a JSON object with that string as its `firmware` member. Base64 is
decoded by a C function on whole chunks; only what surrounds it is read byte by byte.
"""

import binascii

from micropython import const

from .errors import FinalError, RetryableError

_BUFFER_BYTES = const(2048)
_AROUND_MAX_BYTES = const(16384)  # JSON text allowed before and after the firmware
_DEPTH_MAX = const(16)
_NAME_MAX = const(32)

_QUOTE = const(0x22)
_BACKSLASH = const(0x5C)
_COMMA = const(0x2C)
_OPEN = const(0x7B)
_CLOSE = const(0x7D)


def open_body(reply):
    """The reply's body as something with `readinto(view) -> count`, 0 at the end. `size_bytes` is what it will give at
    most, None when the server did not say; `surplus_bytes` is how much lower the truth may be."""
    length = reply.headers.get("content-length", "")
    length_bytes = int(length) if length.isdigit() else None
    if "octet-stream" in reply.headers.get("content-type", "").lower():
        return RawBody(reply, length_bytes)
    return JsonBody(reply, length_bytes)


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
        self._view = memoryview(bytearray(_BUFFER_BYTES))
        self._at = self._end = 0  # the unread part of the buffer
        self._around = 0
        self._closed = False  # the firmware's closing quote has been seen
        self._in_object = False
        self._find_firmware()
        # What is left is base64, perhaps padded, and the closing quote; an object may have more text behind it.
        self.surplus_bytes = _AROUND_MAX_BYTES if self._in_object else 2
        self.size_bytes = None if length_bytes is None else (length_bytes - self._around - 1) // 4 * 3
        # From here on text lies at the buffer's start: `_end` bytes of it, which are too few to be decoded.
        self._data = self._decode(self._move(self._at, self._end))  # decoded bytes that did not fit the caller's view

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the next bytes of the image; fewer only at the end, 0 once it is over."""
        done = 0
        while done < len(view):
            if self._data:
                count = min(len(self._data), len(view) - done)
                view[done : done + count] = self._data[:count]
                self._data = self._data[count:]
                done += count
            elif self._closed:
                break
            else:
                count = self._reply.readinto(self._view[self._end :])
                if count == 0:
                    raise RetryableError("firmware_cut")
                self._data = self._decode(self._end + count)
        return done

    def _move(self, start: int, end: int) -> int:
        """Move a part of the buffer to its start; its length."""
        self._view[: end - start] = self._view[start:end]
        return end - start

    def _decode(self, end: int) -> memoryview:
        """Decode the buffer's first `end` bytes, as far as that goes; the rest then lies at its start."""
        whole = end & ~3
        # a2b_base64 skips foreign characters and stops at padding; a full count of bytes shows that it met neither.
        data = _a2b(self._view[:whole])
        if len(data) == whole // 4 * 3 and b'"' not in bytes(self._view[whole:end]):
            self._end = self._move(whole, end)
            return memoryview(data)

        text = bytes(self._view[:end])
        quote = text.find(b'"')
        if quote >= 0:
            self._closed = True
            self._at, self._end = quote + 1, end
            text = text[:quote]
        text, escape = _unescape(text)
        if self._closed:
            if len(text) & 3 or escape:
                raise FinalError("bad_base64")
            self._finish()
            spare = 2 if text.endswith(b"==") else 1 if text.endswith(b"=") else 0
        else:
            # The last whole quantum waits as well: it may be the padded one, which only the closing quote tells.
            whole = (len(text) - 1) & ~3 if text else 0
            rest = text[whole:] + escape
            self._end = len(rest)
            self._view[: self._end] = rest
            text = text[:whole]
            spare = 0
        data = _a2b(text)
        if len(data) != len(text) // 4 * 3 - spare:
            raise FinalError("bad_base64")
        return memoryview(data)

    # What surrounds the firmware: a small JSON reader, a byte at a time.

    def _fill(self) -> bool:
        """Make sure that there is a byte to read; False at the body's end."""
        if self._at == self._end:
            self._at, self._end = 0, self._reply.readinto(self._view)
        return self._end > 0

    def _next(self) -> int:
        if not self._fill():
            raise RetryableError("firmware_cut")
        self._around += 1
        if self._around > _AROUND_MAX_BYTES:
            raise _not_json("more than 16 KiB around the firmware")
        self._at += 1
        return self._view[self._at - 1]

    def _next_visible(self) -> int:
        while True:
            byte = self._next()
            if byte not in b" \t\r\n":
                return byte

    def _find_firmware(self) -> None:
        byte = self._next_visible()
        if byte == _QUOTE:
            return
        if byte != _OPEN:
            raise _not_json("neither an image nor JSON with one")
        self._in_object = True
        while True:
            name = self._name()
            byte = self._next_visible()
            if name == b"firmware":
                if byte != _QUOTE:
                    raise _not_json("the firmware is not a string")
                return
            if self._skip(byte) != _COMMA:
                raise _not_json("no firmware member")

    def _name(self) -> bytes:
        """A member's name and the colon after it."""
        if self._next_visible() == _QUOTE:
            name = self._string()
            if self._next_visible() == 0x3A:
                return name
        raise _not_json("not JSON")

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
                    raise _not_json("nested too deep")
            elif byte in b"}]":
                if depth == 0:
                    return byte
                depth -= 1
            elif byte == _COMMA and depth == 0:
                return byte
            byte = self._next_visible()

    def _finish(self) -> None:
        """Read what follows the firmware: it must close the JSON text."""
        self._around = 0
        if self._in_object:
            byte = self._next_visible()
            while byte == _COMMA:
                self._name()
                byte = self._skip(self._next_visible())
            if byte != _CLOSE:
                raise _not_json("not JSON after the firmware")
        # Without a length the connection may stay open behind the text, so nothing more is waited for.
        while self._reply.bounded and self._fill():
            if self._next() not in b" \t\r\n":
                raise _not_json("it goes on after its end")


def _not_json(detail: str) -> FinalError:
    return FinalError("bad_firmware_body", detail)


def _a2b(text) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError:  # padding in the wrong place
        return b""


def _unescape(text: bytes) -> "tuple[bytes, bytes]":
    """`text` without its JSON escapes, and the part of an escape that it ends with."""
    rest = b""
    slash = text.rfind(b"\\")
    if slash >= 0 and len(text) - slash < (6 if text[slash + 1 : slash + 2] == b"u" else 2):
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
            raise FinalError("bad_base64")
        text = text.replace(escape, bytes((code,)))
