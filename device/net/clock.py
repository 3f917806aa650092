"""The time that TLS needs: certificates are valid from one date to another, and the clock starts in the year 2000.

Imported for https only. Times are seconds since 2000-01-01 UTC, whatever the runtime counts from; `rtc` is a
machine.RTC().
"""

import time

from micropython import const

from .http_date import date_s

_WRITTEN_S = const(846806400)  # 2026-11-01, when this was written: no clock that is right shows less
_KISS_OF_DEATH_S = const(1139293696)  # as ntptime reads the 0 by which a server says that it is asked too often
_DAY_S = const(86400)
_NTP_TIMEOUT_S = const(2)
_NTP_TRIES = const(2)
_CALENDAR_END_S = const(1 << 31)  # MicroPython's

_EPOCH_S = 946684800 if time.gmtime(0)[0] == 1970 else 0  # 2000-01-01 as this runtime counts; boards count from it


def now_s() -> int:
    """Return what the clock shows."""
    return int(time.time()) - _EPOCH_S


def set_clock(device) -> None:
    """Set the board's clock before certificates are verified, anew when the last round has failed."""
    floor_s = _floor_s(device)
    adjust(device.board.rtc(), floor_s, device.settings.ntp, device.schedule.failures == 0)


def learn_time(device) -> None:
    """Set the board's clock by the answer of a server that has just been verified, and record its time if need be."""
    learned_s = learn(device.board.rtc(), device.server_date, _floor_s(device))
    if learned_s and not device.board.on_trial():  # which leaves the record as it is
        device.record.save(time_s=learned_s)


def _floor_s(device) -> int:
    """Return the latest time that is certainly over: the board and its release have been made, and a server has told
    its time."""
    return max(device.settings.made_at, device.settings.built_at, device.record.time_s or 0)


def adjust(rtc, floor_s: int, host: str, trusted: bool = True) -> bool:
    """Set a clock that shows less than `floor_s`, or is not `trusted`, to the time of the NTP server `host`.

    False without an answer, or with one below the floor, which could make an expired certificate valid again: the clock
    then shows the floor, or what it did if that was later. Takes 4 s at most, and what the host's name takes."""
    floor_s = max(floor_s, _WRITTEN_S)
    early = now_s() < floor_s
    if trusted and not early:
        return True
    import ntptime

    ntptime.host = host
    ntptime.timeout = _NTP_TIMEOUT_S
    for _ in range(_NTP_TRIES):
        try:
            told_s = ntptime.time() - _EPOCH_S
        except (OSError, ValueError):  # no answer, or too short a one
            continue
        if told_s >= floor_s and told_s != _KISS_OF_DEATH_S:
            _set(rtc, told_s)
            return True
    if early:
        _set(rtc, floor_s)
    return False


def learn(rtc, date: str, known_s: int) -> "int | None":
    """Set the clock by the Date header of a verified answer.

    Return the time when the record should keep it, as the floor for a clock that NTP cannot set: when what the record
    knows, `known_s`, is older than a day. Otherwise None."""
    told_s = date_s(date)
    shown_s = now_s()
    if not max(_WRITTEN_S, known_s) <= told_s < _CALENDAR_END_S:
        return None
    _set(rtc, told_s)
    # The floor never sinks, so a wrong date in it would be for good: only a time at which certificates were valid.
    return told_s if known_s + _DAY_S < told_s <= shown_s + _DAY_S else None


def _set(rtc, value_s: int) -> None:
    year, month, day, hour, minute, second = time.gmtime(value_s + _EPOCH_S)[:6]
    rtc.datetime((year, month, day, 0, hour, minute, second, 0))  # boards work out the day of the week themselves
