"""MicroPython's additions to `time`, for CPython."""

import time

_PERIOD = 1 << 30


def install():
    """Add the ticks functions to CPython's `time`."""
    time.ticks_ms = lambda: int(time.monotonic() * 1000) % _PERIOD
    time.ticks_add = lambda ticks, delta: (ticks + delta) % _PERIOD
    time.ticks_diff = lambda one, other: (one - other + _PERIOD // 2) % _PERIOD - _PERIOD // 2
    time.sleep_ms = lambda duration_ms: time.sleep(duration_ms / 1000)
