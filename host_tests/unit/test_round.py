"""Rounds of the agent and of the thermometer: what is tried again when, and what a failure must not take along."""

import board
import gadgetkeeper.sentences
import gadgetkeeper.store
import main
import thermometer
from gadgetkeeper.errors import FinalError, RetryableError

from tools.proof import scratch
from tools.twin.small_chip import power_on

WEEK_S = 7 * 86400


class Dog:
    def feed(self):
        raise AssertionError("not during a trial")


def wait_after(error, failures=None, on_trial=False):
    """How a round ends that fails with `error`: failures, and seconds until the next one."""
    power_on()
    gadgetkeeper.store.root = scratch.folder()

    def fail(settings, state, doubt):
        raise error

    others = main.provision, board.connect, board.watchdog
    main.provision, board.connect = fail, lambda networks: None
    board.watchdog, board._trial_over = Dog() if on_trial else None, False
    try:
        return main.keep_in_step(failures, None)[:2]
    finally:
        main.provision, board.connect, board.watchdog = others


def busy():
    error = RetryableError("server_error", 503)
    error.retry_after_s = 600
    return error


def test_what_the_server_asks_for_comes_before_the_pause():
    failures, wait_s = wait_after(busy())
    assert failures == 1 and wait_s > 600
    failures, wait_s = wait_after(FinalError("refused", 403))
    assert failures == 0 and wait_s > 3000


def test_trial_is_not_waited_away():
    for error in (busy(), FinalError("refused", 403), RetryableError("no_answer", "server", "x")):
        failures, wait_s = wait_after(error, on_trial=True)
        assert failures == 1 and wait_s <= 4, (error, wait_s)
        failures, wait_s = wait_after(error, 3, on_trial=True)
        assert failures == 4 and wait_s <= 32, (error, wait_s)


def test_heap_in_shreds_leads_to_a_fresh_start_but_not_at_once():
    assert wait_after(MemoryError(), 8)[0] == 9
    try:
        wait_after(MemoryError(), 9)
    except MemoryError:
        return
    raise AssertionError("never a fresh start")


def test_damaged_sentences_hide_neither_the_code_nor_stop_the_thermometer():
    path = scratch.folder() + "errors.txt"
    kept = gadgetkeeper.sentences.__file__
    gadgetkeeper.sentences.__file__ = path[:-10] + "sentences.py"
    try:
        for content in (b"refused the server {", b"refused {9}", b"\xff\xff", b""):
            with open(path, "wb") as file:
                file.write(content)
            assert "[refused]" in gadgetkeeper.sentences.sentence(FinalError("refused", 403)), content
    finally:
        gadgetkeeper.sentences.__file__ = kept


class Time:
    def __init__(self):
        self.now_ms = 0

    def ticks_ms(self):
        return self.now_ms

    @staticmethod
    def ticks_diff(one, other):
        return one - other


def test_thermometer_gives_the_agent_its_turn_in_time_whatever_a_reading_takes():
    power_on()
    gadgetkeeper.store.root = scratch.folder()
    time = Time()

    def wait(duration_ms):
        time.now_ms += duration_ms

    def slow(pin):
        time.now_ms += 45000
        return 21.5

    others = thermometer.time, board.wait, board.sensor_celsius
    thermometer.time, board.wait, board.sensor_celsius = time, wait, slow
    try:
        thermometer.run(3600, {}, True)
    finally:
        thermometer.time, board.wait, board.sensor_celsius = others
    assert 3600 <= time.now_ms / 1000 < 3600 + 120, time.now_ms
