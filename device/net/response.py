"""One HTTP response whose body is complete or an error, within limits of time.

The only module of the network that has to stay in memory while a firmware streams in.
"""

import select
import time

from agent.errors import RetryableError
from agent.runner import run
from micropython import const

_EAGAIN = const(11)
_ANSWER_MS = const(30000)  # for the head, and for a JSON body with it
_STALL_MS = const(15000)  # without a byte
_WINDOW_MS = const(30000)  # in which a streamed body brings at least
_WINDOW_BYTES = const(8192)
_TOTAL_MS = const(900000)  # for a streamed body
_LINE_MAX_BYTES = const(1024)
_TRAILERS_MAX = const(64)
_PIECE_BYTES = const(256)
_CHUNK_SIZE_DIGITS = const(8)


class Response:
    """The response on the non-blocking connection `raw`: `status_code`, the few `headers` that are looked at
    (lower-case names), and the body, whose end is marked by a length or by chunks when it is `bounded`, and otherwise
    by the connection's. With a `link`, a connection that can be used again is left there. As a whole: `content`."""

    def __init__(self, raw, link=None) -> None:
        self.status_code = 0
        self.headers: dict = {}
        self.raw = raw
        self.link = link
        self.left_bytes: int | None = None  # of the body, or of its chunk; None when the connection's end is its end
        self.chunked = False
        self.bounded = False
        self.begun = False  # a byte has arrived
        self._read = getattr(raw, "readinto", None) or raw.recv_into
        self._read_line = getattr(raw, "readline", None) or (lambda size: raw.recv(1))  # CPython's has none
        self._poller = select.poll()
        self._poller.register(raw, select.POLLIN)
        self._start_ms = time.ticks_ms()
        self._limit_ms = _ANSWER_MS  # after the start
        self._window_bytes = 0  # still to come before a streamed body gets more time
        self._left_ms = 0  # when the caller went off with what had come

    def readinto(self, view: memoryview) -> int:
        """Put the next bytes of the body into `view`; return how many, 0 at its end. RetryableError when it is cut."""
        now_ms = self._elapsed_ms()
        # The server cannot help how long we write to flash: eight kilobytes of a patch may be a whole firmware.
        self._limit_ms += now_ms - self._left_ms
        if self._window_bytes <= 0:
            self._window_bytes = _WINDOW_BYTES
            self._limit_ms = min(now_ms + _WINDOW_MS, _TOTAL_MS)
        count = self.take(view)
        self._window_bytes -= count
        self._left_ms = self._elapsed_ms()
        return count

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        raw, self.raw = self.raw, None
        if raw and self.link and self.left_bytes == 0 and not self.chunked:
            self.link.raw = raw
        elif raw:
            raw.close()

    def line(self, limit_bytes: int = _LINE_MAX_BYTES) -> bytes:
        """Return the next line, without its end; of a long one its first 1 KiB. `line_bytes` is then how long it was.
        RetryableError when that is above the limit, or it breaks off."""
        line = b""
        self.line_bytes = 0
        while True:
            # Without this look at the clock, chunks of a byte could go on for a day, if they came fast enough.
            if self._elapsed_ms() >= self._limit_ms:
                raise RetryableError("stalled")
            part = self._receive(self._read_line, _PIECE_BYTES)
            if not part:
                raise self._cut("it hangs up")
            self.line_bytes += len(part)
            if self.line_bytes > limit_bytes:
                raise bad_answer("too long")
            if len(line) < _LINE_MAX_BYTES:
                line += part
            if part[-1:] == b"\n":
                return line.rstrip(b"\r\n")

    def take(self, view: memoryview) -> int:
        """As `readinto`, for a body that has to come within the time for head and answer."""
        if self.left_bytes == 0 and self.chunked:
            self._begin_chunk()
        if self.left_bytes == 0:
            return 0
        if self.left_bytes is None:
            # MicroPython's TLS shows its end once, and not when the same read has brought bytes: so they come singly.
            count = self._receive(self._read, view if hasattr(self.raw, "connect") else view[:1])
            if count == 0:  # the end or a cut: the content must show which
                self.left_bytes = 0
            return count
        count = self._receive(self._read, view if len(view) <= self.left_bytes else view[: self.left_bytes])
        if count == 0:
            raise self._cut(self.left_bytes)
        self.left_bytes -= count
        if self.left_bytes == 0 and self.chunked and self.line():
            raise bad_answer("length")
        return count

    def _begin_chunk(self) -> None:
        size = self.line().split(b";", 1)[0].strip()
        if not 0 < len(size) <= _CHUNK_SIZE_DIGITS or size.strip(b"0123456789abcdefABCDEF"):
            raise bad_answer("length")
        self.left_bytes = int(size, 16)
        trailers = 0
        while self.left_bytes == 0 and self.chunked:
            self.chunked = self.line() != b""
            trailers += 1
            if trailers > _TRAILERS_MAX:
                raise bad_answer("too long")

    def _receive(self, read, what):
        """Return what `read(what)` gives once there is something, or the end."""
        limit_ms = None
        while True:
            # Read first: TLS may hold bytes of which the socket below knows nothing.
            try:
                some = read(what)
                if some is not None:
                    self.begun = self.begun or bool(some)
                    return some
            except OSError as error:
                if error.errno != _EAGAIN:
                    raise self._cut(run("agent.sentences", "reason", error))
            # A look at the clock is for those who keep us waiting.
            now_ms = self._elapsed_ms()
            if limit_ms is None:
                limit_ms = min(now_ms + _STALL_MS, self._limit_ms)
            if now_ms >= limit_ms:
                raise RetryableError("stalled")
            self._poller.poll(limit_ms - now_ms)

    def _cut(self, why: object) -> RetryableError:
        if self.begun:
            return RetryableError("body_cut", why)
        return RetryableError("no_answer", "the server", why)

    def _elapsed_ms(self) -> int:
        return time.ticks_diff(time.ticks_ms(), self._start_ms)


def bad_answer(what: str) -> RetryableError:
    """Return the error for an answer that cannot be used."""
    return RetryableError("bad_answer", what)
