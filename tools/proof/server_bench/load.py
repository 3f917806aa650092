"""Load from one process: many connections, each with one request under way, over HTTP/1.1."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEAD_END = b"\r\n\r\n"


@dataclass
class Outcome:
    """What came of a load: the answers' statuses, their times in seconds, the bytes of their bodies."""

    statuses: dict[int, int] = field(default_factory=dict)
    times_s: list[float] = field(default_factory=list)
    body_bytes: int = 0
    lost: int = 0
    took_s: float = 0.0

    @property
    def answers(self) -> int:
        """How many requests were answered, well or not."""
        return len(self.times_s)

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answers / self.took_s

    @property
    def errors(self) -> int:
        """Answers that were no success, and requests without an answer."""
        return self.lost + sum(count for status, count in self.statuses.items() if status >= 400)

    def quantile_ms(self, share: float) -> float:
        """The time within which this share of the answers came."""
        ordered = sorted(self.times_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Client(asyncio.Protocol):
    """One connection. It sends the next request when the answer is complete, or when its time has come."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._head = b""
        self._left: int | None = None
        self._sent_s = 0.0
        self._is_waiting = False

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._next()

    def connection_lost(self, error) -> None:
        self._load.outcome.lost += self._is_waiting
        self._load.gone()

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            self._head += data
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            self._head = b""
            self._status = int(head[9:12])
            at = head.find(b"content-length:")
            self._left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        self._left -= len(data)
        self._load.outcome.body_bytes += len(data)
        if self._left <= 0:
            self._left = None
            self._is_waiting = False
            self._load.answered(self._status, time.perf_counter() - self._sent_s)
            self._next()

    def _next(self) -> None:
        request = None if self._load.is_over() else next(self._load.requests, None)
        if request is None:
            self._transport.close()
            return
        wait_s = self._load.turn_s()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._send, request)
        else:
            self._send(request)

    def _send(self, request: bytes) -> None:
        self._sent_s = time.perf_counter()
        self._is_waiting = True
        self._transport.write(request)


class _Load:
    def __init__(self, requests: Iterator[bytes], until_s: float, per_s: float | None, connections: int) -> None:
        self.requests = requests
        self.outcome = Outcome()
        self.done = asyncio.Event()
        self._until_s = until_s
        self._interval_s = 1 / per_s if per_s else 0.0
        self._due_s = time.perf_counter()
        self._open = connections

    def is_over(self) -> bool:
        return time.perf_counter() > self._until_s

    def turn_s(self) -> float:
        """How long to wait for the turn, at the wanted rate."""
        if not self._interval_s:
            return 0.0
        self._due_s += self._interval_s
        return self._due_s - time.perf_counter()

    def answered(self, status: int, took_s: float) -> None:
        statuses = self.outcome.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.outcome.times_s.append(took_s)

    def gone(self) -> None:
        self._open -= 1
        if not self._open:
            self.done.set()


def run(
    port: int, requests: Iterator[bytes], connections: int, timeout_s: float, per_s: float | None = None
) -> Outcome:
    """Send the requests over so many connections, each as soon as its last one is answered, or all together so many
    per second; until there are none left, or the time is over."""
    import uvloop

    async def go() -> Outcome:
        began_s = time.perf_counter()
        load = _Load(requests, began_s + timeout_s, per_s, connections)
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Client(load), "127.0.0.1", port)
        await asyncio.wait_for(load.done.wait(), timeout_s + 60)
        load.outcome.took_s = time.perf_counter() - began_s
        return load.outcome

    return uvloop.run(go())
