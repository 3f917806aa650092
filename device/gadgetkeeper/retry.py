"""When to try again: exponential backoff with full jitter, so that a fleet does not come back as one."""

import random

from micropython import const

_FIRST_S = const(4)
_CAP_S = const(900)


def pause_s(failures: int, interval_s: int) -> int:
    """Seconds until the agent asks the server again, after `failures` failed rounds in a row.

    In step (0 failures): the interval, plus or minus a tenth of it. After a failure: a random time up to a limit that
    doubles with each failure (4 s, 8 s, ... 15 min), never above the interval.
    """
    if failures == 0:
        return interval_s - interval_s // 10 + random.randrange(interval_s // 5 + 1)
    limit_s = min(_FIRST_S << min(failures - 1, 8), _CAP_S, interval_s)
    return 1 + random.randrange(max(limit_s, 1))
