"""The serial line: noise on it stops no thermometer, a person does, for an hour at most, and no trial gets longer."""

import board as board_room
import machine
from board import Board


class Keys:
    """What is typed: a stream of bytes, and `select` for it."""

    POLLIN = 1

    def __init__(self, typed):
        self.typed = typed

    def poll(self, timeout_ms=None):
        if timeout_ms is None:
            return self
        return [(self, 1)] if self.typed is not None else []

    def register(self, keys, events):
        assert keys is self

    def read(self, count):
        key, self.typed = self.typed[:count], self.typed[count:] or None
        return key


class Watchdog:
    """`machine` with a watchdog that remembers how long it waits."""

    timeout_ms = 120_000

    def __init__(self, timeout):
        Watchdog.timeout_ms = timeout

    def feed(self):
        pass


def typed(keys, on_trial=False, watchdog=True):
    """Type this at a board: whether that stops it, what is left for the REPL, and how long its watchdog waits."""
    stream = Keys(keys)
    Watchdog.timeout_ms = 120_000
    kept = board_room.select, machine.WDT
    board_room.select, machine.WDT = stream, Watchdog
    try:
        board = Board(Watchdog(120_000) if watchdog else None, on_trial, stream)
        board.feed()
        stopped = False
    except KeyboardInterrupt:
        stopped = True
    finally:
        board_room.select, machine.WDT = kept
    return stopped, stream.typed or b"", Watchdog.timeout_ms


def test_noise_on_the_line_stops_nothing():
    for noise in (b"\x03", b"\x00\x03\xff", b"\x03 \x03", b"x" * 300 + b"\x03", b"\xff\xfe\r", b"\n\x03"):
        assert typed(noise) == (False, b"", 120_000), noise


def test_person_and_tools_stop_it_for_an_hour_and_what_they_type_next_is_for_the_repl():
    assert typed(b"\x03\x03") == (True, b"", 3_600_000)
    assert typed(b"\r\x03\r\x01") == (True, b"\r\x01", 3_600_000), "as mpremote types it"
    assert typed(b"\xff\r\x03\x03\x02") == (True, b"\x03\x02", 3_600_000), "as ampy does"


def test_trial_gets_no_longer_by_a_person_and_a_board_without_a_watchdog_none():
    assert typed(b"\x03\x03", on_trial=True) == (True, b"", 120_000)
    assert typed(b"\x03\x03", watchdog=False) == (True, b"", 120_000)


def test_console_that_has_ended_is_no_endless_loop():
    stream = Keys(b"")
    stream.typed = b""
    kept, board_room.select = board_room.select, stream
    try:
        Board(None, False, stream).feed()
    finally:
        board_room.select = kept


def test_two_signs_of_one_person_may_be_a_moment_apart():
    stream = Keys(b"\x03")
    kept, board_room.select = board_room.select, stream
    try:
        board = Board(None, False, stream)
        board.feed()
        stream.typed = b"\x03"
        try:
            board.feed()
        except KeyboardInterrupt:
            return
        raise AssertionError("never stops")
    finally:
        board_room.select = kept
