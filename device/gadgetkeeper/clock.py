"""The time that TLS needs: certificates are valid from one date to another, and the clock starts in the year 2000.

Imported for https only. Times are seconds since 2000-01-01 UTC, whatever the runtime counts from; `rtc` is a
machine.RTC().
"""

import time

from micropython import const

_WRITTEN_S = const(846806400)  # 2026-11-01, when this was written: no clock that is right shows less
_KISS_S = const(1139293696)  # as ntptime reads the 0 by which a server says that it is asked too often
_DAY_S = const(86400)
_NTP_TIMEOUT_S = const(2)
_NTP_TRIES = const(2)

_EPOCH_S = 946684800 if time.gmtime(0)[0] == 1970 else 0  # 2000-01-01 as this runtime counts; boards count from it


def now_s() -> int:
    """What the clock shows."""
    return int(time.time()) - _EPOCH_S


def set_time(rtc, floor_s: int, host: str, doubt: bool = False) -> bool:
    """Bring a clock that shows less than `floor_s`, or is in `doubt`, to the time that the NTP server `host` tells.

    False without an answer, or with one below the floor, which could make an expired certificate valid again: the clock
    then shows the floor, or what it did if that was later. Takes 4 s at most, and what the host's name takes."""
    floor_s = max(floor_s, _WRITTEN_S)
    early = now_s() < floor_s
    if not early and not doubt:
        return True
    import ntptime

    ntptime.host = host
    ntptime.timeout = _NTP_TIMEOUT_S
    for _ in range(_NTP_TRIES):
        try:
            told_s = ntptime.time() - _EPOCH_S
        except (OSError, ValueError):  # no answer, or too short a one
            continue
        if told_s >= floor_s and told_s != _KISS_S:
            _set(rtc, told_s)
            return True
    if early:
        _set(rtc, floor_s)
    return False


def learn(rtc, date: str, known_s: int) -> int:
    """Set the clock by the Date header of a verified answer. Its time, when the record should keep it as the floor for
    a clock that NTP cannot set: when what it knows is older than a day. Else 0."""
    told_s = date_s(date)
    shown_s = now_s()
    if not max(_WRITTEN_S, known_s) <= told_s < 1 << 31:
        return 0
    _set(rtc, told_s)
    # The floor never sinks, so a wrong date in it would be for good: only a time at which certificates were valid.
    return told_s if known_s + _DAY_S < told_s <= shown_s + _DAY_S else 0


def date_s(text: str) -> int:
    """The time of an HTTP date like "Sun, 01 Nov 2026 08:49:37 GMT"; 0 when it is none."""
    month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(text[8:11])
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


def _set(rtc, value_s: int) -> None:
    year, month, day, hour, minute, second = time.gmtime(value_s + _EPOCH_S)[:6]
    rtc.datetime((year, month, day, 0, hour, minute, second, 0))  # boards work out the day of the week themselves
