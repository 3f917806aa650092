"""While the server cannot be reached: readings are kept for later, and what may be stuck is started anew.

First the radio, then the board, the latter at intervals that double. All of it lies in the RTC's memory, which survives
a reset and wears nothing out: how often the board has been restarted, then a line for each reading, of its time (in
milliseconds, as `time.ticks_ms` counts, through all restarts), its property and its value.
"""

import json
import time

from micropython import const

from .errors import AgentError
from .runner import run

_RADIO_MS = const(300000)
_RESTART_S = const(1800)  # for the first restart
_DOUBLINGS_MAX = const(6)  # 32 hours
_HEAP_FAILURES = const(8)  # for the first restart, some ten minutes
_KEPT_MAX_BYTES = const(1900)  # some 80 readings
_UNREACHABLE = const(("no_answer", "no_address", "no_wifi", "tls_failed", "tls_stalled", "bad_ca"))


def keep(device, property_id: str, value: object, measured_ms: int, error: "Exception | None") -> None:
    """Keep what was not reported because of this error, unless the server wants no such value, now or later."""
    if not _is_refused(error):
        _append(device, property_id, value, measured_ms)
        if error:
            climb(device, error)


def restarts(device) -> int:
    """Return how often the board has been restarted in this outage."""
    return (device.board.recall() or b"\0")[0]


def climb(device, error: Exception) -> None:
    """Start radio or board anew, when it is time for it, because of this error. Does not return in the latter case."""
    board, schedule = device.board, device.schedule
    if board.on_trial():
        return
    count = restarts(device)
    doublings = min(count, _DOUBLINGS_MAX)
    if isinstance(error, MemoryError) and schedule.failures > _HEAP_FAILURES << doublings:
        _restart(device, count, "there is too little memory, try after try")
    if not _is_silence(error):
        return
    now_ms = time.ticks_ms()
    if schedule.silent_since_ms is None:
        schedule.silent_since_ms = schedule.radio_ms = now_ms
        return
    silent_ms = time.ticks_diff(now_ms, schedule.silent_since_ms)
    if silent_ms >= run("agent.backoff", "interval_s", _RESTART_S << doublings) * 1000:  # not all of a fleet at once
        _restart(device, count, "the server has been out of reach for long")
    if time.ticks_diff(now_ms, schedule.radio_ms) >= _RADIO_MS:
        schedule.radio_ms = now_ms
        device.console.say("the server has been out of reach for a while: starting the radio anew")
        board.disconnect()


def end(device) -> None:
    """Forget the restarts: a round has ended in step."""
    memory = device.board.recall()
    if memory[:1] > b"\0":
        device.board.remember(b"\0" + memory[1:])


def _append(device, property_id: str, value: object, measured_ms: int) -> None:
    """Add a line for a reading; the oldest goes when there is no more room."""
    memory = device.board.recall() or b"\0"
    time_ms = time.ticks_add(measured_ms, _past_ms(device, memory))
    lines = memory[1:] + f"{time_ms} {property_id} {json.dumps(value)}\n".encode()
    while len(lines) > _KEPT_MAX_BYTES:
        lines = lines[lines.find(b"\n") + 1 :]
    device.board.remember(memory[:1] + lines)


def send_kept(device) -> None:
    """Report the oldest of what was kept, with its age. One each time: a fleet that finds its server again must not
    bury it. AgentError when that fails."""
    memory = device.board.recall()
    past_ms = _past_ms(device, memory)
    line, _, lines = memory[1:].partition(b"\n")
    try:
        time_text, property_id, text = line.decode().split(" ", 2)
        age_ms = time.ticks_diff(time.ticks_add(time.ticks_ms(), past_ms), int(time_text))
        value = json.loads(text)
    except ValueError:  # not this agent's: another release's, or what a sagging supply has left
        age_ms = -1
    if age_ms >= 0:  # otherwise too old to be told
        try:
            run(device.things, "write_property", device, property_id, value, age_ms // 1000)
        except AgentError as error:
            if not _is_refused(error):
                raise
    device.board.remember(memory[:1] + lines)


def _past_ms(device, memory: bytes) -> int:
    """Return what the time of kept readings is ahead of `ticks_ms`: it goes on where the last reading before this start
    has left it."""
    schedule = device.schedule
    if schedule.past_ms is None:
        last = memory[1:].rstrip().rpartition(b"\n")[2].partition(b" ")[0]
        schedule.past_ms = int(last) if last.isdigit() else 0
    return schedule.past_ms


def _is_refused(error: "Exception | None") -> bool:
    return isinstance(error, AgentError) and error.code in ("refused", "no_property")


def _is_silence(error: Exception) -> bool:
    """Return True when the way to the server may be at fault, and not what it has answered."""
    return not isinstance(error, AgentError) or error.code in _UNREACHABLE or error.code.startswith("wifi_")


def _restart(device, count: int, why: str) -> None:
    device.console.say(why + ": the board restarts")
    device.board.remember(bytes((min(count + 1, 255),)) + device.board.recall()[1:])
    device.board.reset()
