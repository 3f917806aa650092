"""When to try again: spread, bounded, and at nobody's command for longer than a day."""

from agent import backoff
from net.http_date import retry_after_s

DAY_S = 86400


class Extreme:
    """Random numbers at one end."""

    def __init__(self, highest):
        self._highest = highest

    def randrange(self, count):
        assert count > 0
        return count - 1 if self._highest else 0


def ends(function, *args):
    """The least and the most that a random function gives."""
    found = []
    real = backoff.random
    for highest in (False, True):
        backoff.random = Extreme(highest)
        try:
            found.append(function(*args))
        finally:
            backoff.random = real
    return tuple(found)


def test_failures_double_the_limit_up_to_the_cap():
    for failures, most_s in ((1, 4), (2, 8), (3, 16), (8, 512), (9, 900), (24, 900)):
        assert ends(backoff.pause_s, failures, 3600) == (1, most_s), failures


def test_pause_is_never_longer_than_the_interval_asks_for():
    assert ends(backoff.pause_s, 9, 30) == (1, 30)
    assert ends(backoff.pause_s, 9, 1) == (1, 1)


def test_budget_of_tries_is_bounded():
    for failures in (25, 1000, 1 << 40):
        assert ends(backoff.pause_s, failures, 3600) == (3240, 3960), failures


def test_polling_is_spread_by_a_tenth():
    assert ends(backoff.pause_s, 0, 3600) == (3240, 3960)
    assert ends(backoff.pause_s, 0, 1) == (1, 1)


def test_start_is_spread_up_to_the_setting():
    assert ends(backoff.spread_ms, 3) == (0, 3000)
    assert ends(backoff.spread_ms, 0) == (0, 0)
    assert ends(backoff.spread_ms, 0x7FFFFFFF) == (0, 3600000)


def test_fleet_does_not_draw_the_same_numbers():
    assert len({backoff.spread_ms(3600) for _ in range(64)}) > 32


def test_retry_after_is_honoured_and_spread():
    assert ends(backoff.pause_s, 1, 3600, 120) == (121, 150)
    assert ends(backoff.pause_s, 30, 3600, 120) == ends(backoff.pause_s, 1 << 40, 3600, 120) == (121, 1020)
    assert ends(backoff.pause_s, 1, 60, 120) == (121, 150), "the server asked for more than the interval"
    assert ends(backoff.pause_s, 1, 3600, DAY_S) == (DAY_S + 1, DAY_S + 900)
    assert ends(backoff.pause_s, 1, 3600, 0) == ends(backoff.pause_s, 1, 3600)


def test_retry_after_in_seconds():
    assert retry_after_s("120", "") == 120
    assert retry_after_s("0", "") == retry_after_s("-5", "") == 0
    assert retry_after_s("86401", "") == retry_after_s("9" * 1000, "") == retry_after_s("9" * 5000, "") == DAY_S


def test_retry_after_as_a_date():
    date = "Tue, 24 Nov 2026 20:44:52 GMT"
    assert retry_after_s("Tue, 24 Nov 2026 20:46:52 GMT", date) == 120
    assert retry_after_s("Tue, 24 Nov 2026 20:44:51 GMT", date) == 0
    assert retry_after_s("Tue, 24 Nov 2099 20:44:52 GMT", date) == DAY_S
    assert retry_after_s("Tue, 24 Nov 2026 20:46:52 GMT", "today") is None
    assert retry_after_s("Tue, 24 Nov 2026 20:46:52 GMT", "") is None, "no date to count from"


def test_retry_after_that_is_none_changes_nothing():
    for text in ("", " ", "1.5", "soon", "0x10", "Tue, 24 Nov 2026", "\x00", "\u00b2", "x" * 5000):
        assert retry_after_s(text, "Tue, 24 Nov 2026 20:44:52 GMT") is None, text
