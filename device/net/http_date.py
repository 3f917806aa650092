"""Times in HTTP headers, in seconds since 2000-01-01 UTC."""

from micropython import const

_MONTHS = const("JanFebMarAprMayJunJulAugSepOctNovDec")
_RETRY_AFTER_MAX_S = const(86400)
_RETRY_AFTER_DIGITS = const(6)


def date_s(text: str) -> int:
    """Return the time of an HTTP date like "Sun, 01 Nov 2026 08:49:37 GMT"; 0 when it is none."""
    month = _MONTHS.find(text[8:11])
    if month % 3 or text[12:14] != "20" or text[25:] != " GMT":
        return 0
    try:
        day, year, hour = int(text[5:7]), int(text[14:16]), int(text[17:19])
        minute, second = int(text[20:22]), int(text[23:25])
    except ValueError:
        return 0
    # The day within the year, as if February had 30 days, less what it lacks; and a day for each leap year before.
    day += (month + 3) * 275 // 27 - (2 if year % 4 else 1) * (month > 3) - 31 + year * 365 + (year + 3) // 4
    return max(((day * 24 + hour) * 60 + minute) * 60 + second, 0)


def retry_after_s(text: str, date: str) -> "int | None":
    """Return the seconds that a Retry-After header asks to wait, a day at most; None when it asks for nothing.

    `date` is the same answer's Date header: the server's clock counts, not ours. Without it a date says nothing."""
    try:
        asked_s = int(text[:_RETRY_AFTER_DIGITS])
    except ValueError:
        asked_at_s, now_s = date_s(text), date_s(date)
        if not asked_at_s or not now_s:
            return None
        asked_s = asked_at_s - now_s
    return min(max(asked_s, 0), _RETRY_AFTER_MAX_S)
