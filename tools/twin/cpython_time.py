"""MicroPython's additions to `time`, for CPython."""

import time
from typing import Any

_PERIOD = 1 << 30


def install() -> None:
    """Add the ticks functions to CPython's `time`."""
    clock: Any = time
    clock.ticks_ms = lambda: int(time.monotonic() * 1000) % _PERIOD
    clock.ticks_add = lambda ticks, delta: (ticks + delta) % _PERIOD
    clock.ticks_diff = lambda one, other: (one - other + _PERIOD // 2) % _PERIOD - _PERIOD // 2
    clock.sleep_ms = lambda duration_ms: time.sleep(duration_ms / 1000)
