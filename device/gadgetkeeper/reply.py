"""One HTTP answer whose body is complete or an error, within limits of time.

The only module of the network that has to stay in memory while a firmware streams in.
"""

import select
import time

from micropython import const

from .errors import RetryableError

EAGAIN = const(11)
_ANSWER_MS = const(30000)  # for the head, and for a JSON body with it
_STALL_MS = const(15000)  # without a byte
_WINDOW_MS = const(30000)  # in which a streamed body brings at least
_WINDOW_BYTES = const(8192)
_TOTAL_MS = const(900000)  # for a streamed body
_LINE_MAX_BYTES = const(1024)
_LINES_MAX = const(64)
_JSON_MAX_BYTES = const(8192)
_PIECE_BYTES = const(256)
_SIZE_MAX_DIGITS = const(8)


class Reply:
    """One answer on the non-blocking connection `raw`: `status_code`, the few `headers` the agent looks at (lower-case
    names), and the body, of which `left` bytes are to come; `chunked` ones count to the end of the chunk.

    A connection that can be used again goes to place 0 of the list `kept`, if the list still has one."""

    def __init__(self, raw, kept: list) -> None:
        self.status_code = 0
        self.headers: dict = {}
        self.raw = raw
        self.kept = kept
        self.left: int | None = None
        self.chunked = False
        self.begun = False  # a byte has arrived
        self._read = getattr(raw, "readinto", None) or raw.recv_into
        self._read_line = getattr(raw, "readline", None) or (lambda size: raw.recv(1))  # CPython's has none
        self._poller = select.poll()
        self._poller.register(raw, select.POLLIN)
        self._start_ms = time.ticks_ms()
        self._limit_ms = _ANSWER_MS  # after the start
        self._quota = 0  # bytes that earn a streamed body more time

    @property
    def bounded(self) -> bool:
        """True when the body's end is marked, by a length or by chunks; False when it ends with the connection."""
        return self.left is not None

    def readinto(self, view: memoryview) -> int:
        """Put the next bytes of the body into `view`; how many, 0 at the body's end. RetryableError when it is cut."""
        if self._quota <= 0:
            self._quota = _WINDOW_BYTES
            self._limit_ms = min(self._now_ms() + _WINDOW_MS, _TOTAL_MS)
        count = self._take(view)
        self._quota -= count
        return count

    def json(self) -> object:
        """The body as JSON. RetryableError when it is too long, cut, or not JSON."""
        import json

        text = b""
        piece = memoryview(bytearray(_PIECE_BYTES))
        while True:
            count = self._take(piece)
            if count == 0:
                break
            text += piece[:count]
            if len(text) > _JSON_MAX_BYTES:
                raise bad("too long")
        try:
            return json.loads(str(text, "utf-8"))
        except (ValueError, RuntimeError, MemoryError):  # the latter two for nesting too deep
            raise bad("no JSON")

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        raw, self.raw = self.raw, None
        if raw and self.left == 0 and not self.chunked and self.kept:
            self.kept[0] = raw
        elif raw:
            raw.close()

    def line(self) -> bytes:
        """The next line, without its end. RetryableError when it is too long, or breaks off."""
        line = b""
        while True:
            # Without this look at the clock, chunks of a byte could go on for a day, if they came fast enough.
            if self._now_ms() >= self._limit_ms:
                raise RetryableError("stalled")
            part = self._receive(self._read_line, _PIECE_BYTES)
            if not part:
                raise self._cut("it hangs up")
            line += part
            if len(line) > _LINE_MAX_BYTES:
                raise bad("too long")
            if line[-1:] == b"\n":
                return line[:-1].rstrip(b"\r")

    def _take(self, view) -> int:
        if self.left == 0 and self.chunked:
            size = self.line().split(b";", 1)[0].strip()
            if not 0 < len(size) <= _SIZE_MAX_DIGITS or size.strip(b"0123456789abcdefABCDEF"):
                raise bad("length")
            self.left = int(size, 16)
            lines = 0
            while self.left == 0 and self.chunked:
                self.chunked = self.line() != b""  # a trailer
                lines += 1
                if lines > _LINES_MAX:
                    raise bad("too long")
        if self.left == 0:
            return 0
        if self.left is None:
            # MicroPython's TLS shows its end once, and not when the same read has brought bytes: so they come singly.
            count = self._receive(self._read, view if hasattr(self.raw, "connect") else view[:1])
            if count == 0:  # the end or a cut: the content must show which
                self.left = 0
            return count
        count = self._receive(self._read, view if len(view) <= self.left else view[: self.left])
        if count == 0:
            raise self._cut(self.left)
        self.left -= count
        if self.left == 0 and self.chunked and self.line():
            raise bad("length")
        return count

    def _receive(self, read, what):
        """What `read(what)` gives once there is something, or the end."""
        limit_ms = None
        while True:
            # Read first: TLS may hold bytes of which the socket below knows nothing.
            try:
                some = read(what)
                if some is not None:
                    self.begun = self.begun or bool(some)
                    return some
            except OSError as error:
                if error.errno != EAGAIN:
                    raise self._cut(reason(error))
            # A look at the clock is for those who keep us waiting.
            now_ms = self._now_ms()
            if limit_ms is None:
                limit_ms = min(now_ms + _STALL_MS, self._limit_ms)
            if now_ms >= limit_ms:
                raise RetryableError("stalled")
            self._poller.poll(limit_ms - now_ms)

    def _cut(self, why: object) -> RetryableError:
        if self.begun:
            return RetryableError("body_cut", why)
        return RetryableError("no_answer", "the server", why)

    def _now_ms(self) -> int:
        return time.ticks_diff(time.ticks_ms(), self._start_ms)


def bad(what: str) -> RetryableError:
    """The error for an answer that is none."""
    return RetryableError("bad_answer", what)


def reason(error: BaseException) -> str:
    """What an error is about, in a word: its errno's name, or its type."""
    import errno

    if isinstance(error, OSError) and error.args:
        return getattr(errno, "errorcode", {}).get(error.args[0], str(error.args[-1]))
    return type(error).__name__
