"""A firmware in JSON text, decoded in fixed memory.

Base64 is decoded by a C function on whole pieces; only what surrounds it is read byte by byte, by `json_scanner`.
"""

import binascii

from agent.errors import RetryableError
from agent.runner import run
from micropython import const

_BUFFER_BYTES = const(512)


class JsonBody:
    """A JSON string of base64, or an object with one as `firmware`; `readinto` gives the decoded bytes.

    RetryableError for a body that breaks off, or is no such JSON or no base64, as what a login page puts there."""

    def __init__(self, response, length_bytes: "int | None") -> None:
        self._response = response
        self._view = memoryview(bytearray(_BUFFER_BYTES))
        self._quote_at = -1  # where in the buffer the firmware's closing quote is; -1 as long as it has not been seen
        scanner = run("ota.json_scanner", "JsonScanner", response, self._view)
        self._in_object = scanner.find_firmware()
        # What is left is base64, perhaps padded, and the closing quote; an object may have more text behind it.
        self.surplus_bytes = scanner.room_bytes if self._in_object else 2
        self.size_bytes = None if length_bytes is None else (length_bytes - scanner.count - 1) // 4 * 3
        # From here on text lies at the buffer's start: `_end` bytes of it, which are too few to be decoded; behind the
        # closing quote, what the last read has brought ends there.
        end = scanner.end - scanner.at
        self._view[:end] = self._view[scanner.at : scanner.end]
        self._data: memoryview | None = self._decode(end)  # what did not fit the caller's view

    def readinto(self, view: memoryview) -> int:
        """See `decoder.open_body`."""
        done = 0
        while done < len(view):
            data = self._data
            if data:
                count = min(len(data), len(view) - done)
                view[done : done + count] = data[:count]
                self._data = data[count:] if count < len(data) else None
                done += count
            elif self._quote_at >= 0:
                break
            else:
                count = self._response.readinto(self._view[self._end :] if self._end else self._view)
                if count == 0:
                    raise RetryableError("firmware_cut")
                self._data = self._decode(self._end + count)
        return done

    def finish(self) -> None:
        """See `decoder.open_body`."""
        if self._quote_at >= 0:
            rest = run("ota.json_scanner", "JsonScanner", self._response, self._view, self._quote_at + 1, self._end)
            rest.finish(self._in_object)

    def _decode(self, end: int) -> memoryview:
        """Decode the buffer's first `end` bytes, as far as that goes; the rest then lies at its start."""
        view = self._view
        whole = end & ~3
        rest = bytes(view[whole:end]) if whole < end else b""
        # a2b_base64 skips foreign characters and stops at padding; a full count of bytes shows that it met neither.
        data = _decode_base64(view[:whole] if whole < len(view) else view)
        if len(data) != whole // 4 * 3 or b'"' in rest:
            return self._decode_text(bytes(view[:end]))
        self._end = len(rest)
        if rest:
            view[: self._end] = rest
        return memoryview(data)

    def _decode_text(self, text: bytes) -> memoryview:
        """Decode a piece that holds more than base64's characters: escapes, padding, the closing quote."""
        end = len(text)
        self._quote_at = text.find(b'"')
        if self._quote_at >= 0:
            text = text[: self._quote_at]
        escape = b""
        if b"\\" in text:
            from .json_escapes import unescape  # not by `run`: there may be some in every piece

            text, escape = unescape(text)
        text = text.replace(b"\n", b"").replace(b"\r", b"")  # no JSON, but so some servers make it
        padding = 0
        if self._quote_at >= 0:
            if len(text) & 3 or escape:
                raise RetryableError("bad_base64")
            self._end = end
            padding = 2 if text.endswith(b"==") else 1 if text.endswith(b"=") else 0
        else:
            # The last whole quantum waits as well: it may be the padded one, which only the closing quote tells.
            whole = (len(text) - 1) & ~3 if text else 0
            rest = text[whole:] + escape
            self._end = len(rest)
            self._view[: self._end] = rest
            text = text[:whole]
        data = _decode_base64(text)
        if len(data) != len(text) // 4 * 3 - padding:
            raise RetryableError("bad_base64")
        return memoryview(data)


def _decode_base64(text) -> bytes:
    """Return the text's bytes; none for padding in the wrong place."""
    try:
        return binascii.a2b_base64(text)
    except ValueError:
        return b""
