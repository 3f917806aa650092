"""Whatever a server puts into Retry-After, the device comes back within a day; and no two boards come back together."""

import subprocess

import pytest
from gadgetkeeper import retry
from hypothesis import given
from hypothesis import strategies as st

from tools.twin.paths import CHIP, DEVICE, ROOT, VM

DAY_S = 86400


DATES = st.from_regex(r"\A.{5}[0-9]{2} Nov 20[0-9]{2} .{8} GMT\Z")


@given(st.text() | st.integers().map(str) | DATES, st.text() | DATES)
def test_no_retry_after_makes_it_raise_or_silences_a_device_for_longer_than_a_day(text, date):
    asked_s = retry.after_s(text, date)
    assert asked_s is None or 0 <= asked_s <= DAY_S


@given(st.integers(0, 1 << 64), st.integers(1, 10 * DAY_S), st.none() | st.integers(0, DAY_S))
def test_every_pause_is_bounded(failures, interval_s, asked_s):
    pause_s = retry.pause_s(failures, interval_s, asked_s)
    assert pause_s >= 1
    if not asked_s:
        assert pause_s <= interval_s * 1.1 + 1
    else:
        assert asked_s < pause_s <= asked_s + 900


@pytest.mark.vm
def test_two_boards_do_not_draw_the_same_numbers():
    program = f"import sys; sys.path[:0] = ['{DEVICE}', '{CHIP}', '{ROOT}']; from gadgetkeeper import retry; "
    program += "print([retry.start_ms(1000) for _ in range(4)])"
    drawn = [subprocess.run([VM, "-c", program], capture_output=True, text=True, timeout=60) for _ in range(2)]
    assert all(done.returncode == 0 for done in drawn), drawn[0].stderr
    assert drawn[0].stdout != drawn[1].stdout
