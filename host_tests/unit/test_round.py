"""Rounds of the agent and of the thermometer: what is tried again when, and what a failure must not take along."""

import agent.sentences
import thermometer
from agent import backoff, round
from agent.device import Device
from agent.errors import PermanentError, RetryableError
from agent.schedule import Schedule

from host_tests.fakes.device import FakeBoard, FakeConsole, fake_device
from tools.proof import scratch
from tools.twin import hardware


def wait_after(error, failures=0, on_trial=False, reactivating=False):
    """How a round ends that fails with `error`: failures, and seconds until the next one."""
    device = fake_device(FakeBoard(on_trial=on_trial))
    device.schedule.failures, device.schedule.reactivating = failures, reactivating
    wait_s = round.fail(device, error)
    return device.schedule.failures, wait_s


def busy():
    error = RetryableError("server_error", 503)
    error.retry_after_s = 600
    return error


def test_what_the_server_asks_for_comes_before_the_pause():
    failures, wait_s = wait_after(busy())
    assert failures == 1 and wait_s > 600
    failures, wait_s = wait_after(PermanentError("refused", 403))
    assert failures == 0 and wait_s > 3000


def test_trial_is_not_waited_away():
    for error in (busy(), PermanentError("refused", 403), RetryableError("no_answer", "server", "x")):
        failures, wait_s = wait_after(error, on_trial=True)
        assert failures == 1 and wait_s <= 4, (error, wait_s)
        failures, wait_s = wait_after(error, 3, on_trial=True)
        assert failures == 4 and wait_s <= 32, (error, wait_s)


def test_fragmented_heap_leads_to_a_fresh_start_but_not_at_once():
    assert wait_after(MemoryError(), 7)[0] == 8
    try:
        wait_after(MemoryError(), 8)
    except hardware.PowerLoss:
        return
    raise AssertionError("never a fresh start")


def test_foreign_error_is_a_failed_round_like_any_other():
    for error in (ValueError("x"), OSError(5), KeyError("x"), MemoryError()):
        failures, wait_s = wait_after(error)
        assert failures == 1 and 0 < wait_s <= 4, error


def test_dropped_key_is_mended_by_another_activation_at_once_but_only_once_in_a_row():
    for code in ("key_dropped", "no_thing"):
        device = fake_device()
        device.record.save(thing_id="a", api_key="b")
        assert round.fail(device, RetryableError(code)) == 0
        assert device.record.api_key is None and device.record.thing_id == "a"
        assert device.record.dirty, "read back from flash, the old key would be there again"
        assert round.fail(device, RetryableError(code)) > 0
        assert device.schedule.failures == 1


def test_two_boards_with_one_serial_number_do_not_take_turns_at_full_speed():
    device = fake_device()
    waits_s = []
    for _ in range(8):
        assert round.fail(device, RetryableError("key_dropped")) == 0
        round.succeed(device)
        waits_s.append(device.schedule.failures)
    assert waits_s == [1, 2, 3, 4, 5, 6, 7, 8]
    device.schedule.succeeded()
    assert device.schedule.failures == 0


def test_schedule_counts_what_another_try_may_mend():
    schedule = Schedule()
    assert (schedule.failures, schedule.begun, schedule.reactivating) == (0, False, False)
    schedule.failed()
    schedule.failed()
    assert schedule.failures == 2
    schedule.succeeded()
    assert schedule.failures == 0
    schedule.reactivating = True
    schedule.failed()
    assert (schedule.failures, schedule.reactivating) == (1, False)


def prepared(device):
    """Prepare a round with the settings that this device has."""
    with open(device.root + "config.json", "w") as file:
        file.write('{"start_spread_s": 5, "server": "http://server"}')
    round.prepare(device)
    return device


def test_start_after_a_black_out_is_spread_once_and_a_reset_is_not():
    class Longest:
        @staticmethod
        def randrange(count):
            return count - 1

    kept, backoff.random = backoff.random, Longest
    try:
        for powered_on, waited_ms in ((True, 5000), (False, 0)):
            root = scratch.folder()
            device = Device(FakeBoard(), FakeConsole(), root, root + "release/")
            device.board.powered_on = powered_on
            prepared(prepared(device))
            assert device.board.waited_ms == waited_ms, powered_on
            assert device.board.connected == [[], []]
    finally:
        backoff.random = kept


def test_record_that_flash_does_not_hold_yet_is_not_forgotten():
    root = scratch.folder()
    device = Device(FakeBoard(), FakeConsole(), root, root + "release/")
    device.record.save(api_key="old", server="http://api.gadgetkeeper.com")
    device.record.api_key, device.record.dirty = "new", True
    assert prepared(device).record.api_key == "new"
    device.record.save()
    device.record.api_key = "lost"
    assert prepared(device).record.api_key == "new"


def test_damaged_sentences_hide_neither_the_code_nor_stop_the_thermometer():
    path = scratch.folder() + "errors.txt"
    kept = agent.sentences.__file__
    agent.sentences.__file__ = path[:-10] + "sentences.py"
    try:
        for content in (None, b"refused the server {", b"refused {9}", b"\xff\xff", b""):
            if content is not None:
                with open(path, "wb") as file:
                    file.write(content)
            assert "[refused]" in agent.sentences.sentence(PermanentError("refused", 403)), content
    finally:
        agent.sentences.__file__ = kept


class Time:
    def __init__(self):
        self.now_ms = 0

    def ticks_ms(self):
        return self.now_ms

    @staticmethod
    def ticks_diff(one, other):
        return one - other


class SlowBoard(FakeBoard):
    """A board whose readings take 45 s."""

    def __init__(self, time):
        super().__init__()
        self.time = time

    def wait(self, duration_ms):
        self.time.now_ms += duration_ms

    def sensors_celsius(self, pin):
        self.time.now_ms += 45000
        return dict(self.sensors)


def test_thermometer_gives_the_agent_its_turn_in_time_whatever_a_reading_takes():
    kept, thermometer.time = thermometer.time, Time()
    try:
        device = fake_device(SlowBoard(thermometer.time))
        thermometer.run(device, 3600)
        assert 3600 <= thermometer.time.now_ms / 1000 < 3600 + 120, thermometer.time.now_ms
    finally:
        thermometer.time = kept


class Reports:
    """A server that answers each report like this."""

    def __init__(self, device, error=None):
        self.device, self.error = device, error
        self.values, self.kept = [], []
        device.report = self.report

    def report(self, property_id, value, now=True):
        if not now:
            self.kept.append(value)
            return
        self.values.append(value)
        if self.error:
            raise self.error


def activated(**settings):
    device = fake_device(**settings)
    device.record.save(thing_id="a", api_key="b")
    return device


def test_failed_report_is_left_behind_and_the_next_one_is_made():
    for error in (RetryableError("no_answer", "server", "x"), PermanentError("no_property"), OSError(5), None):
        device = activated()
        server = Reports(device, error)
        thermometer.run(device, 300)
        assert len(server.values) >= 5, error


def test_dropped_key_ends_the_products_time_unless_the_agent_is_failing_itself():
    for failures, least_s, most_s in ((0, 1, 66), (1, 300, 400)):
        device = activated()
        device.schedule.failures = failures
        server = Reports(device, RetryableError("key_dropped"))
        thermometer.run(device, 300)
        assert len(server.values) == 1, "a key that the server has dropped is not sent again"
        assert len(server.kept) >= 4 or not failures, "measured and lost"
        assert least_s <= device.board.waited_ms / 1000 <= most_s, failures


def test_trial_is_proven_by_a_report_or_by_a_server_without_the_property():
    for error, proves in ((None, True), (PermanentError("no_property"), True), (RetryableError("no_answer"), False)):
        device = activated()
        Reports(device, error)
        try:
            thermometer.prove(device)
            assert proves, error
        except RetryableError:
            assert not proves, error
