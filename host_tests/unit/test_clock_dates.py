"""The clock's dates against Python's own, and on a runtime that counts from 2000, as boards do."""

import calendar
import datetime
import importlib.util
import sys
import time
import types
from email.utils import format_datetime

from gadgetkeeper import clock
from hypothesis import given
from hypothesis import strategies as st

from tools.twin.paths import DEVICE

START = datetime.datetime(2000, 1, 1)
END = datetime.datetime(2099, 12, 31, 23, 59, 59)
EPOCH_2000_S = calendar.timegm((2000, 1, 1, 0, 0, 0))


@given(st.datetimes(START, END))
def test_every_date_of_the_century_is_read(moment):
    moment = moment.replace(microsecond=0)
    text = format_datetime(moment.replace(tzinfo=datetime.UTC), usegmt=True)
    assert clock.date_s(text) == (moment - START).total_seconds()


@given(st.text() | st.from_regex(r"\A.{5}[0-9]{2} [A-Z][a-z]{2} 20.{10,12} GMT\Z"))
def test_no_text_makes_it_raise(text):
    assert 0 <= clock.date_s(text) < 2 * 3155760000


class Rtc:
    def datetime(self, value):
        self.value = value


def test_runtime_that_counts_from_2000_sets_the_same_time(monkeypatch):
    """The boards' own `time` (gmtime(0) is in 2000), and an NTP module that counts like it."""
    board_time = types.ModuleType("time")
    board_time.time = lambda: 9
    board_time.gmtime = lambda value_s: tuple(time.gmtime(value_s + EPOCH_2000_S))[:8]
    ntptime = types.ModuleType("ntptime")
    ntptime.time = lambda: calendar.timegm((2027, 5, 6, 7, 8, 9)) - EPOCH_2000_S
    monkeypatch.setitem(sys.modules, "ntptime", ntptime)
    monkeypatch.setitem(sys.modules, "time", board_time)
    spec = importlib.util.spec_from_file_location("board_clock", DEVICE / "gadgetkeeper" / "clock.py")
    board_clock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(board_clock)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ntptime", ntptime)
    rtc = Rtc()
    assert board_clock.now_s() == 9
    assert board_clock.set_time(rtc, 0, "ntp.example")
    assert rtc.value == (2027, 5, 6, 0, 7, 8, 9, 0)
    board_clock.learn(rtc, "Thu, 06 May 2027 07:08:10 GMT", 0)
    assert rtc.value == (2027, 5, 6, 0, 7, 8, 10, 0)
