"""When to try again: exponential backoff with full jitter, so that a fleet does not come back as one.

A round makes each call once. Worth repeating is what raises RetryableError; nothing else is. MicroPython seeds `random`
from the chip's own generator at its import (MICROPY_PY_RANDOM_SEED_INIT_FUNC), so no two boards draw the same numbers.
"""

import random

from micropython import const

_FIRST_S = const(4)
_CAP_S = const(900)
_TRIES_MAX = const(24)  # about two hours of tries
_DAY_S = const(86400)


def start_ms(spread_s: int) -> int:
    """Milliseconds to wait at power-on before the first request: random, up to `spread_s` seconds."""
    return random.randrange(spread_s * 1000 + 1)


def pause_s(failures: int, interval_s: int, retry_after_s: "int | None" = None) -> int:
    """Seconds until the agent asks the server again, after `failures` failed rounds in a row.

    In step (0 failures), and when the budget of 24 tries is used up: the interval, plus or minus a tenth of it. After a
    failure: a random time up to a limit that doubles with each failure (4 s, 8 s, ... 15 min), never above the
    interval. What the server has asked for comes before that; the limit is then at least a quarter of it, or 15 min.
    """
    if (failures == 0 or failures > _TRIES_MAX) and not retry_after_s:
        return interval_s - interval_s // 10 + random.randrange(interval_s // 5 + 1)
    least_s = retry_after_s or 0
    limit_s = min(max(_FIRST_S << min(failures, 9) >> 1, least_s // 4), _CAP_S, max(interval_s, least_s))
    return least_s + 1 + random.randrange(limit_s)


def after_s(text: "str | None", date: "str | None" = None) -> "int | None":
    """Seconds to wait that a Retry-After header's value asks for, a day at most; None when it asks for nothing.

    `date` is the same answer's Date header: the server's clock, not ours, counts. Without it a date says nothing."""
    if not text:
        return None
    try:
        asked_s = int(text[:6])
    except ValueError:
        from .clock import date_s

        asked_s, now_s = date_s(text), date_s(date or "")
        if not asked_s or not now_s:
            return None
        asked_s -= now_s
    return min(max(asked_s, 0), _DAY_S)
