"""A firmware body as a stream of image bytes, in fixed memory, whichever form the server sends.

The forms: the raw image; a JSON string of base64; a JSON object with that string as its `firmware` member. Base64 is
decoded by a C function on whole chunks; only what surrounds it is read byte by byte, by `around`.
"""

import binascii

from micropython import const

from .errors import RetryableError

_BUFFER_BYTES = const(1536)


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

    RetryableError for a body that breaks off, or is no such JSON or no base64, as what a login page puts there."""

    def __init__(self, reply, length_bytes: "int | None") -> None:
        from .around import AROUND_MAX_BYTES, Around

        self._reply = reply
        self._view = memoryview(bytearray(_BUFFER_BYTES))
        self._closed = False  # the firmware's closing quote has been seen
        around = Around(reply, self._view)
        self._in_object = around.find_firmware()
        # What is left is base64, perhaps padded, and the closing quote; an object may have more text behind it.
        self.surplus_bytes = AROUND_MAX_BYTES if self._in_object else 2
        self.size_bytes = None if length_bytes is None else (length_bytes - around.count - 1) // 4 * 3
        # From here on text lies at the buffer's start: `_end` bytes of it, which are too few to be decoded.
        self._data = self._decode(self._move(around.at, around.end))  # what did not fit the caller's view

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
        self._closed = quote >= 0
        if self._closed:
            text = text[:quote]
        escape = b""
        if b"\\" in text:
            from .escapes import unescape

            text, escape = unescape(text)
        spare = 0
        if self._closed:
            if len(text) & 3 or escape:
                raise RetryableError("bad_base64")
            from .around import Around

            Around(self._reply, self._view, quote + 1, end).finish(self._in_object)
            spare = 2 if text.endswith(b"==") else 1 if text.endswith(b"=") else 0
        else:
            # The last whole quantum waits as well: it may be the padded one, which only the closing quote tells.
            whole = (len(text) - 1) & ~3 if text else 0
            rest = text[whole:] + escape
            self._end = len(rest)
            self._view[: self._end] = rest
            text = text[:whole]
        data = _a2b(text)
        if len(data) != len(text) // 4 * 3 - spare:
            raise RetryableError("bad_base64")
        return memoryview(data)


def _a2b(text) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError:  # padding in the wrong place
        return b""
