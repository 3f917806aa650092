"""The clock before TLS: never back beyond what is known, whoever answers; and nobody waits for long."""

import ntptime
from agent.record_reader import read_record
from machine import RTC
from net import clock
from net.http_date import date_s

from host_tests.fakes.device import FakeBoard, fake_device
from tools.twin import hardware

NOV_2026 = 846806400
YEAR_S = 365 * 86400
START = (2000, 1, 1, 5, 0, 0, 9, 0)


class Time:
    """A runtime's `time` whose clock shows what the test says; 2000 is the boards' epoch, 1970 the others'."""

    def __init__(self, shown_s, real):
        self._shown_s = shown_s
        self.gmtime = real.gmtime

    def time(self):
        return self._shown_s + clock._EPOCH_S + 0.75


def adjust(shown_s, floor_s, ntp, trusted=True):
    """Set the clock in a world where NTP tells `ntp`; whether the time is known, and what the RTC was set to."""
    hardware.world = {"ntp": ntp}
    ntptime.asked = 0
    RTC().datetime(START)
    real = clock.time
    clock.time = Time(shown_s, real)
    try:
        known = clock.adjust(RTC(), floor_s, "ntp.example", trusted)
    finally:
        clock.time = real
    value = RTC().datetime()
    if value == START:
        return known, None
    year, month, day, _, hour, minute, second, _ = value
    names = "JanFebMarAprMayJunJulAugSepOctNovDec"
    date = f"Xxx, {day:02} {names[month * 3 - 3 : month * 3]} {year} {hour:02}:{minute:02}:{second:02} GMT"
    return known, date_s(date)


def test_clock_that_is_right_is_left_alone_and_nobody_is_asked():
    assert adjust(NOV_2026 + 5, 0, NOV_2026 + 99) == (True, None)
    assert ntptime.asked == 0


def test_clock_at_its_start_is_set_by_ntp():
    assert adjust(9, 0, NOV_2026 + 123456) == (True, NOV_2026 + 123456)
    assert (ntptime.host, ntptime.timeout) == ("ntp.example", 2)


def test_without_ntp_the_clock_stands_at_the_floor():
    made_at = NOV_2026 + YEAR_S
    assert adjust(9, made_at, None) == (False, made_at)
    assert adjust(9, 0, None) == (False, NOV_2026)
    assert ntptime.asked == 2, "one lost packet is no verdict"


def test_ntp_below_the_floor_cannot_make_an_expired_certificate_valid():
    made_at = NOV_2026 + YEAR_S
    assert adjust(9, made_at, made_at - 1) == (False, made_at)
    assert adjust(9, 0, 0) == (False, NOV_2026)


def test_distrust_corrects_a_clock_that_was_set_too_late_and_never_goes_below_the_floor():
    made_at = NOV_2026 + YEAR_S
    assert adjust(made_at + 20 * YEAR_S, made_at, made_at + 5, trusted=False) == (True, made_at + 5)
    assert adjust(made_at + 20 * YEAR_S, made_at, made_at - 5, trusted=False) == (False, None)
    assert adjust(made_at + 20, made_at, None, trusted=False) == (False, None)


def test_ntp_answer_that_is_too_short_is_no_answer():
    kept = ntptime.time

    def short():
        raise ValueError("buffer too small")

    ntptime.time = short
    try:
        assert adjust(9, 0, NOV_2026 + 7) == (False, NOV_2026)
    finally:
        ntptime.time = kept


def test_verified_date_sets_the_clock():
    RTC().datetime(START)
    clock.learn(RTC(), "Tue, 24 Nov 2026 20:44:52 GMT", 0)
    value = RTC().datetime()
    assert (value[:3], value[4:7]) == ((2026, 11, 24), (20, 44, 52))


def test_date_that_is_none_or_long_past_changes_nothing():
    for text in ("", "x", "Sun, 06 Nov 1994 08:49:37 GMT", "Thu, 01 Jan 2015 00:00:00 GMT", "x" * 29):
        RTC().datetime(START)
        assert clock.learn(RTC(), text, 0) is None and RTC().datetime() == START, text


def test_dates_of_every_month_and_of_leap_years():
    for text, days in (
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0),
        ("Tue, 29 Feb 2000 00:00:00 GMT", 59),
        ("Wed, 01 Mar 2000 00:00:00 GMT", 60),
        ("Sun, 31 Dec 2000 00:00:00 GMT", 365),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 366),
        ("Thu, 01 Mar 2001 00:00:00 GMT", 425),
        ("Thu, 01 Mar 2029 00:00:00 GMT", 10652),
        ("Thu, 31 Dec 2099 00:00:00 GMT", 36524),
    ):
        assert date_s(text) == days * 86400, text


def test_text_that_is_no_http_date_is_none():
    good = "Tue, 24 Nov 2026 20:44:52 GMT"
    assert date_s(good) > 0
    for text in (
        good[:-1],
        good + " ",
        good.replace("GMT", "UTC"),
        good.replace("Nov", "nov"),
        good.replace("Nov", "ovD"),
        good.replace("2026", "1926"),
        good.replace("24 ", "xx "),
        good.replace("20:44", "20:x4"),
        "Tuesday, 24-Nov-26 20:44:52 GMT",
        "Tue Nov 24 20:44:52 2026",
        "\u00b2" * 29,
    ):
        assert date_s(text) == 0, text


def learn(shown_s, date, known_s=0):
    """What is learned from a date while the clock shows `shown_s`."""
    real = clock.time
    clock.time = Time(shown_s, real)
    try:
        return clock.learn(RTC(), date, known_s)
    finally:
        clock.time = real


def test_record_keeps_a_learned_time_once_a_day():
    learned = learn(NOV_2026 + 24 * 86400, "Tue, 24 Nov 2026 20:44:52 GMT")
    assert learned == NOV_2026 + 23 * 86400 + 20 * 3600 + 44 * 60 + 52
    assert learn(learned + 3600, "Tue, 24 Nov 2026 21:44:52 GMT", learned) is None
    assert learn(learned + 86400, "Wed, 25 Nov 2026 20:44:53 GMT", learned) == learned + 86401


def test_wrong_date_of_a_server_is_not_kept_for_ever():
    for date in ("Fri, 06 Feb 2060 07:08:10 GMT", "Wed, 01 Feb 2090 07:08:10 GMT"):
        assert learn(NOV_2026 + 86400, date) is None, date
    assert learn(9, "Tue, 24 Nov 2026 20:44:52 GMT") is None  # kept once a handshake has succeeded at that time


def test_kiss_of_death_is_no_time():
    assert adjust(9, 0, 1139293696) == (False, NOV_2026)


def test_clock_is_not_trusted_in_a_round_after_a_failed_one():
    for failures, asked in ((0, 0), (1, 1)):
        device = fake_device(ntp="ntp.example")
        device.board.rtc = RTC
        device.schedule.failures = failures
        hardware.world = {"ntp": NOV_2026 + 99}
        ntptime.asked = 0
        real, clock.time = clock.time, Time(NOV_2026 + 5, clock.time)
        try:
            clock.set_clock(device)
        finally:
            clock.time = real
        assert ntptime.asked == asked, failures


def test_learned_time_is_the_floor_of_the_next_start():
    device = fake_device(made_at=NOV_2026)
    device.board.rtc = RTC
    device.server_date = "Tue, 24 Nov 2026 20:44:52 GMT"
    real, clock.time = clock.time, Time(NOV_2026 + 24 * 86400, clock.time)
    try:
        clock.learn_time(device)
    finally:
        clock.time = real
    assert read_record(device.root).time_s == date_s(device.server_date)


def test_clock_goes_on_by_the_release_where_ntp_is_blocked():
    device = fake_device(made_at=NOV_2026 + 10, ntp="ntp.example")
    device.board.rtc = RTC
    device.settings.built_at = NOV_2026 + 30 * 86400
    hardware.world = {"ntp": None}
    RTC().datetime(START)
    real, clock.time = clock.time, Time(9, clock.time)
    try:
        clock.set_clock(device)
    finally:
        clock.time = real
    assert RTC().datetime()[:3] == (2026, 12, 1)


def test_trial_leaves_the_time_out_of_the_record():
    device = fake_device(FakeBoard(on_trial=True), made_at=NOV_2026)
    device.board.rtc = RTC
    device.server_date = "Tue, 24 Nov 2026 20:44:52 GMT"
    real, clock.time = clock.time, Time(NOV_2026 + 24 * 86400, clock.time)
    try:
        clock.learn_time(device)
    finally:
        clock.time = real
    assert read_record(device.root).time_s is None and RTC().datetime()[:3] == (2026, 11, 24)
