"""HTTP as uvicorn speaks it, with what it lacks: limits for the head of a request, in time and in size, an end for who
leaves a body unfinished after the answer, and GadgetKeeper's form for what is no HTTP at all."""

import json
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .errors import code_of

HEAD_TIMEOUT_S = 10
HEAD_MAX_BYTES = 16 * 1024
REST_TIMEOUT_S = 10  # to send what is left of a body that nobody reads


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    _timer: TimerHandle | None = None
    _is_in_head = True
    _head_bytes = 0

    def connection_made(self, transport) -> None:
        """Begin to wait for the head of the first request."""
        super().connection_made(transport)
        self._wait(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head, and hang up when it is too much."""
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
            self._refuse(431, f"The head of the request is bigger than {HEAD_MAX_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A request's first bytes are here."""
        super().on_message_begin()
        self._is_in_head = True
        self._wait(HEAD_TIMEOUT_S)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out; a body that is still coming has only so much time."""
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            self._wait(REST_TIMEOUT_S)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an error in the usual form."""
        self._refuse(400, msg)

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"code": code_of(status), "message": message}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()

    def _wait(self, timeout_s: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(timeout_s, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
