"""The fleet: the agent's own main loop, once per device, each in a thread of its own, on one virtual clock.

Only one thread runs at a time: the one whose sleep ends next. So a run is the same every time, and takes no longer than
the agents' own work. What is not the agent's: the clock, the server, flash (files in memory; the slots are one chip's),
and WiFi, which is there at once, so that everybody's first request really falls into one second.
"""

import contextlib
import heapq
import importlib
import io
import json
import random
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.proof.powercut import world
from tools.proof.reply import Reply, json_reply
from tools.twin.hardware import PowerLoss
from tools.twin.image import make_image
from tools.twin.paths import make_importable

THREAD_STACK_BYTES = 256 * 1024
RESTART_MS = 2000


@dataclass
class Server:
    """Refuses connections until `opens_s`, answers 503 until `hurries_s`, 503 with Retry-After until `recovers_s`, and
    from then on serves `capacity` requests in each second and answers 503 to the rest."""

    capacity: int
    opens_s: int = 60
    hurries_s: int = 80
    recovers_s: int = 100
    retry_after_s: int = 20
    served: dict[int, int] = field(default_factory=dict)  # second: requests
    refused: dict[int, int] = field(default_factory=dict)

    def request(self, method: str, url: str, now_s: int) -> Reply:
        """Answer, or ConnectionRefusedError."""
        if now_s >= self.recovers_s and self.served.get(now_s, 0) < self.capacity:
            self.served[now_s] = self.served.get(now_s, 0) + 1
            return json_reply({"id": world.V1, "name": "1"}) if "/target" in url else Reply(status_code=204)
        self.refused[now_s] = self.refused.get(now_s, 0) + 1
        if now_s < self.opens_s:
            raise ConnectionRefusedError
        hurried = self.hurries_s <= now_s < self.recovers_s
        reply = Reply(status_code=503)
        if hurried:
            reply.headers["retry-after"] = str(self.retry_after_s)
        return reply


@dataclass
class Outcome:
    """What happened: `server` counts the requests, `in_step_s` says when each device that got there was in step,
    `restarts_s` when one of them restarted."""

    server: Server
    devices: int
    in_step_s: list[float]
    ended_s: float
    restarts_s: list[float]

    def share_s(self, share: float) -> float | None:
        """Seconds until this share of the devices was in step; None when it never was."""
        needed = -int(-self.devices * share // 1)
        return sorted(self.in_step_s)[needed - 1] if len(self.in_step_s) >= needed else None


class _Over(BaseException):
    """The run is over: ends an agent's thread."""


class Fleet:
    """`devices` thermometers in step, whose power returns at second 0, and the server. Of the agent in `device` one
    copy is loaded, once per process: it keeps nothing of a device in its modules."""

    def __init__(self, device: Path) -> None:
        make_importable(device)
        self._agent = _Agent(self)
        self.now_ms = 0

    def run(
        self, devices: int, server: Server, seed: int, jitter: bool, limit_s: int, progress: Callable[[int], None]
    ) -> Outcome:
        """Until all are in step, or `limit_s`. Without `jitter` the agent's random numbers are all the highest."""
        self.now_ms = 0
        self._limit_ms = limit_s * 1000
        self._in_step: dict[int, float] = {}
        self._restarts_s: list[float] = []
        self._memories = [b""] * devices  # of their RTCs
        self._started_ms = [0] * devices
        self._progress = progress
        self._server = server
        self._over = False
        self._failed: BaseException | None = None
        self._current = -1
        self._agent.power_on(random.Random(seed) if jitter else Highest())
        self._names = [f"{number:032x}" for number in range(devices)]
        self._locks = [threading.Semaphore(0) for _ in range(devices)]
        self._ended = threading.Semaphore(0)
        self._events = [(0, number, number) for number in range(devices)]
        self._sequence = devices
        threads = [threading.Thread(target=self._live, args=(number,), daemon=True) for number in range(devices)]
        kept = threading.stack_size(THREAD_STACK_BYTES)
        try:
            for thread in threads:
                thread.start()
        finally:
            threading.stack_size(kept)
        self._hand_over()
        self._ended.acquire()
        for number in range(devices):  # one after the other, as before
            self._locks[number].release()
            threads[number].join()
        if self._failed:
            raise self._failed
        return Outcome(server, devices, list(self._in_step.values()), self.now_ms / 1000, self._restarts_s)

    # What the agent's surroundings ask for, always on behalf of the device whose turn it is.

    def sleep(self, duration_ms: int) -> None:
        """Let the others go on until this device's time has come."""
        number = self._current
        heapq.heappush(self._events, (self.now_ms + duration_ms, self._sequence, number))
        self._sequence += 1
        self._hand_over()
        self._wait(number)

    def request(self, method: str, url: str) -> Reply:
        """One call of this device to the server."""
        return self._server.request(method, url, self.now_ms // 1000)

    def note_round(self, failures: int) -> None:
        """The device has gone through its steps; 0 failures: it is in step."""
        if failures == 0 and self._current not in self._in_step:
            self._in_step[self._current] = self.now_ms / 1000
            self._progress(len(self._in_step))

    def ticks_ms(self) -> int:
        """This device's own time, since it has started."""
        return self.now_ms - self._started_ms[self._current]

    def is_at_power_on(self) -> bool:
        """True until this device has restarted."""
        return self._started_ms[self._current] == 0

    def remember(self, data: bytes) -> None:
        """Keep this in the RTC of this device."""
        self._memories[self._current] = data

    def recall(self) -> bytes:
        """What is kept in the RTC of this device."""
        return self._memories[self._current]

    def thing(self) -> str:
        """The Id of this device's thing."""
        return self._names[self._current]

    def _live(self, number: int) -> None:
        try:
            self._wait(number)
            while True:
                try:
                    self._agent.live()
                except PowerLoss:
                    self._restarts_s.append(self.now_ms / 1000)
                    self.sleep(RESTART_MS)
                    self._started_ms[number] = self.now_ms
        except _Over:
            pass
        except BaseException as error:
            self._failed = error
            self._end()

    def _wait(self, number: int) -> None:
        self._locks[number].acquire()
        if self._over:
            raise _Over
        self._current = number

    def _hand_over(self) -> None:
        """Wake the device whose time comes next; at the end nobody."""
        due_ms, _, number = heapq.heappop(self._events)
        if due_ms > self._limit_ms or len(self._in_step) == len(self._names):
            self._end()
            return
        self.now_ms = due_ms
        self._locks[number].release()

    def _end(self) -> None:
        self._over = True
        self._ended.release()


class Highest:
    """Random numbers without chance: what a fleet without jitter would draw."""

    def randrange(self, count: int) -> int:
        return count - 1


class _Agent:
    """The agent's modules, with their surroundings replaced."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._image = ""

    def power_on(self, chance) -> None:
        """Load the agent, once; from now on it draws from `chance`."""
        from tools.twin import flash, hardware

        memory = world.factory_fresh(make_image(1, 9000))
        hardware.power_on(flash.Flash(io.BytesIO(memory)), {"wifi": {}, "ds18x20": 21.5, "chip": 40.0}, "ota_0")
        if not self._image:
            self._load()
        _module("agent.backoff").random = chance

    def live(self) -> None:
        """One device, from power-on for ever."""
        _module("agent.loop").live(self._board(), _Silence())

    def _load(self) -> None:
        # Memory is not what is looked at here, and loading modules anew takes time.
        _module("agent.runner").run = _call
        urequests: Any = types.ModuleType("net.urequests")
        urequests.request = self.request
        sys.modules["net.urequests"] = urequests
        for name in ("agent.device", "agent.outage", "board.sensors", "thermometer"):
            _module(name).time = self
        for name in ("agent.files", "agent.record_writer"):
            _module(name).open, _module(name).os = self._open, self
        loop = _module("agent.loop")
        keep_in_step = loop.keep_in_step

        def noted(device):
            wait_s = keep_in_step(device)
            self._fleet.note_round(device.schedule.failures)
            return wait_s

        loop.keep_in_step = noted
        self._image = _module("ota.layout").fingerprint(_module("ota.slot").Slot(_module("esp32").Partition("ota_0")))

    def _board(self):
        board = _module("board").Board()
        board.wait = self._fleet.sleep
        board.at_power_on = self._fleet.is_at_power_on
        board.remember, board.recall = self._fleet.remember, self._fleet.recall
        return board

    # What stands in for `time`, `os`, `open` and `net.urequests`.

    def sleep_ms(self, duration_ms: int) -> None:
        self._fleet.sleep(duration_ms)

    def ticks_ms(self) -> int:
        return self._fleet.ticks_ms()

    @staticmethod
    def ticks_add(ticks_ms: int, delta_ms: int) -> int:
        return ticks_ms + delta_ms

    @staticmethod
    def ticks_diff(later_ms: int, earlier_ms: int) -> int:
        return later_ms - earlier_ms

    def request(self, method: str, url: str, data=None, headers=None, ca="", link=None) -> Reply:
        from agent.errors import RetryableError

        try:
            return self._fleet.request(method, url)
        except ConnectionRefusedError:
            raise RetryableError("no_answer", "server", "ECONNREFUSED") from None

    def stat(self, path: str) -> tuple:
        return (0, 0, 0, 0, 0, 0, len(self._content(path)))

    def rename(self, old: str, new: str) -> None:
        pass

    def _open(self, path: str, mode: str = "r"):
        return io.StringIO() if "w" in mode else contextlib.closing(io.StringIO(self._content(path)))

    def _content(self, path: str) -> str:
        if path == "/serial.txt":
            return world.SERIAL
        if path == "/config.json":
            return json.dumps({"server": "http://server"})
        if path == "/release/manifest.json":
            return json.dumps({"product": "Thermometer", "release": 1})
        if path != "/state.json":
            raise OSError(2, "ENOENT")
        known = {"thingId": self._fleet.thing(), "apiKey": self._fleet.thing(), "renamed": True, "confirmed": True}
        return json.dumps({**known, "versionId": world.V1, "slot": "ota_0", "image": self._image})


class _Silence:
    """A console that nobody reads."""

    def say(self, text: str) -> None:
        pass

    def step(self, number: int, text: str, *values: object) -> None:
        pass


def _module(name: str):
    return importlib.import_module(name)


def _call(module: str, function: str, *arguments):
    """As `agent.runner.run`, but all that is loaded stays."""
    while True:
        result = getattr(_module(module), function)(*arguments)
        if not isinstance(result, _module("agent.runner").Next):
            return result
        module, function, arguments = result.module, result.function, result.arguments
