"""Waits between two rounds: exponential backoff with full jitter, so that a fleet does not return as one.

MicroPython seeds `random` from the chip's own generator at its import (MICROPY_PY_RANDOM_SEED_INIT_FUNC), so no two
boards draw the same numbers.
"""

import random

from micropython import const

_FIRST_S = const(4)
_CAP_S = const(900)
_SPREAD_MAX_S = const(3600)
_TRIES_MAX = const(24)  # about two hours of tries
_DOUBLINGS_MAX = const(9)


def spread_ms(spread_s: int) -> int:
    """Return a random wait in milliseconds, up to `spread_s` seconds, an hour at most."""
    return random.randrange(min(spread_s, _SPREAD_MAX_S) * 1000 + 1)


def interval_s(usual_s: int) -> int:
    """Return the usual interval in seconds, plus or minus a tenth of it."""
    return usual_s - usual_s // 10 + random.randrange(usual_s // 5 + 1)


def pause_s(failures: int, usual_s: int, asked_s: "int | None" = None) -> int:
    """Return the seconds until the next round, after so many `failures` in a row.

    In step, and when 24 tries have failed: `usual_s`, plus or minus a tenth. After a failure: random, up to a limit
    that doubles with each one (4 s, 8 s, ... 15 min) and is never above `usual_s`. What the server has asked for,
    `asked_s`, comes before that; the limit is then at least a quarter of it, or 15 min."""
    if not asked_s and not 0 < failures <= _TRIES_MAX:
        return interval_s(usual_s)
    least_s = asked_s or 0
    limit_s = min(max(_FIRST_S << min(failures, _DOUBLINGS_MAX) >> 1, least_s // 4), _CAP_S, max(usual_s, least_s))
    return least_s + 1 + random.randrange(limit_s)
