"""Outages: what is stuck is started anew without hammering anybody, and what was measured meanwhile is not lost."""

from agent import backoff, outage, round
from agent import device as agent_device
from agent.errors import AgentError, PermanentError, RetryableError
from gadgetkeeper import things

from host_tests.fakes.device import FakeBoard, fake_device
from tools.proof import in_process
from tools.proof.reply import Reply
from tools.twin import hardware

SILENCE = RetryableError("no_answer", "server", "ETIMEDOUT")


class Clock:
    """Time as a board counts it; a restart begins anew."""

    PERIOD = 1 << 30

    def __init__(self):
        self.now_ms = self.since_ms = 0

    def ticks_ms(self):
        return (self.now_ms - self.since_ms) % self.PERIOD

    def ticks_add(self, ticks, delta):
        return (ticks + delta) % self.PERIOD

    def ticks_diff(self, later, earlier):
        return (later - earlier + self.PERIOD // 2) % self.PERIOD - self.PERIOD // 2


class Average:
    """Random numbers that are never far from the middle."""

    @staticmethod
    def randrange(count):
        return count // 2


class World:
    """A device, the time, and a server; use it as a context manager. `heard` is what the server was told: property,
    value, and when that was measured, in seconds."""

    def __init__(self, started_ms=0):
        self.clock = Clock()
        self.clock.now_ms = self.clock.since_ms = 0
        self.clock.now_ms += started_ms
        self.board = FakeBoard()
        self.error = None
        self.heard = []
        self.start()

    def __enter__(self):
        self._kept = outage.time, things.write_property, backoff.random
        outage.time = agent_device.time = self.clock
        backoff.random = Average
        things.write_property = self._write
        return self

    def __exit__(self, *exception):
        outage.time, things.write_property, backoff.random = self._kept
        agent_device.time = outage.time

    def start(self):
        """A start of the board's program: only the RTC's memory is still there."""
        self.device = fake_device(self.board)
        self.device.record.save(thing_id="a", api_key="b")

    def restart(self):
        self.clock.since_ms = self.clock.now_ms
        self.start()

    def report(self, value=21.5, property_id="temperature"):
        """Report this; the error that this gave. A reset starts the board again."""
        try:
            self.device.report(property_id, value)
        except hardware.PowerLoss:
            self.restart()
        except Exception as error:
            return error
        return None

    def wait(self, minutes):
        self.clock.now_ms += minutes * 60000

    def _write(self, device, property_id, value, age_s=0):
        if self.error:
            raise self.error
        device.schedule.silent_since_ms = None  # as `call` does
        self.heard.append((property_id, value, self.clock.now_ms // 1000 - age_s))


def outage_of(world, hours, error, every=10):
    """Report every so many minutes while each ends with this error; when it was restarted, in minutes."""
    world.error = error
    begin_ms, restarts = world.clock.now_ms, []
    for _ in range(hours * 60 // every):
        count = world.board.resets
        world.report()
        if world.board.resets > count:
            restarts.append((world.clock.now_ms - begin_ms) // 60000)
        world.wait(every)
    return restarts


def test_radio_is_started_anew_after_minutes_and_the_board_at_lengthening_intervals():
    with World() as world:
        restarts = outage_of(world, 24, SILENCE)
        # Each time counts from the first failure after the restart before.
        assert restarts == [30, 90 + 10, 210 + 20, 450 + 30, 930 + 40], "in a day without a server"
        assert 100 < world.board.disconnects < 144


def test_restarts_come_a_day_and_a_third_apart_in_the_end():
    with World() as world:
        restarts = outage_of(world, 24 * 14, SILENCE, 60)
        apart = [restarts[at + 1] - restarts[at] for at in range(len(restarts) - 1)]
        assert apart == sorted(apart) and apart[-1] == apart[-2] == 33 * 60, apart


def test_each_kind_of_silence_counts_and_memory_that_sockets_or_tls_lack():
    for error in (
        SILENCE,
        OSError(12),
        MemoryError(),
        RetryableError("no_answer", "server", "ENOMEM"),
        RetryableError("no_address", "server", "-2"),
        RetryableError("tls_failed", "server", "-32512"),
        RetryableError("tls_stalled", "server"),
        PermanentError("bad_ca", "/ca.pem", "invalid cert"),
        RetryableError("wifi_no_answer", "home"),
        RetryableError("no_wifi", "home, office"),
    ):
        with World() as world:
            for minutes in (0, 10, 25):
                world.clock.now_ms = minutes * 60000
                outage.climb(world.device, error)
                assert world.board.resets == 0, (error, minutes)
            world.clock.now_ms = 31 * 60000
            try:
                outage.climb(world.device, error)
            except hardware.PowerLoss:
                continue
            raise AssertionError(error)


def test_server_that_answers_is_no_reason_to_restart_anything():
    for error in (
        RetryableError("server_error", 503),
        RetryableError("bad_answer", "no JSON"),
        PermanentError("refused"),
        RetryableError("body_cut", 7),
        RetryableError("stalled"),
    ):
        with World() as world:
            assert outage_of(world, 4, error) == [] and world.board.disconnects == 0, error


def test_one_answer_ends_the_outage_and_rare_reports_do_not_make_one():
    with World() as world:
        for _ in range(4):
            world.error = SILENCE
            for _ in range(3):
                world.report()
                world.wait(9)
            world.error = None
            assert world.report() is None
        assert world.board.resets == 0
        world.wait(12 * 60)
        world.error = SILENCE
        world.report()
        assert world.board.resets == 0, "twelve hours between two reports are no outage"


def test_trial_is_left_to_its_watchdog():
    with World() as world:
        world.board._on_trial = True
        assert outage_of(world, 2, SILENCE) == [] and world.board.disconnects == 0


def test_outage_over_the_wrap_of_the_boards_time_is_as_long_as_any_other():
    with World(Clock.PERIOD - 10 * 60000) as world:
        assert outage_of(world, 1, SILENCE) == [30]


def test_after_a_restart_rounds_go_on_at_the_pace_of_before_and_the_first_success_forgets_it():
    with World() as world:
        outage_of(world, 1, SILENCE)
        assert world.board.resets == 1
        with open(world.device.root + "config.json", "w") as file:
            file.write('{"server": "http://server"}')
        world.device.schedule.begun = False
        world.device.record.save(server="http://server")
        round.prepare(world.device)
        assert world.device.schedule.failures == 8
        assert round.fail(world.device, SILENCE) > 4
        round.succeed(world.device)
        assert outage.restarts(world.device) == 0 and world.device.schedule.failures == 0
        assert b" temperature " in world.board.memory, "what was measured goes with it"


def test_what_was_measured_meanwhile_is_sent_later_with_its_time_and_the_newest_last():
    with World() as world:
        world.error = SILENCE
        for minute in range(2):
            assert world.report(20 + minute) is SILENCE
            world.wait(1)
        world.error = None
        assert world.report(30) is None
        assert world.heard == [("temperature", 20, 0), ("temperature", 30, 120)]
        assert world.report(31, "other") is None
        assert world.heard[2:] == [("temperature", 21, 60), ("other", 31, 120)]
        assert world.report(32) is None and len(world.heard) == 5, "sent twice"


class Replies:
    """A server that gives these replies; use it as a context manager. `told` is what it has heard: method, address,
    body and its type."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.told = []
        self.device = fake_device(FakeBoard())
        self.device.settings.server = "http://server/"
        self.device.record.save(thing_id="a", api_key="b")

    def __enter__(self):
        in_process.serve(self._answer)
        return self

    def __exit__(self, *exception):
        in_process.stop()

    def _answer(self, method, url, data, headers):
        self.told.append((method, url, data, headers.get("Content-Type")))
        return self.replies.pop(0)


def test_value_is_told_as_the_json_that_it_is():
    values = ((None, b"null"), (21.5, b"21.5"), ("on", b'"on"'), ([1], b"[1]"))
    with Replies(*[Reply(b"", status_code=204) for _ in values]) as server:
        for value, _ in values:
            server.device.report("state", value)
    url = "http://server/v1/things/a/properties/state/value.json"
    assert server.told == [("PUT", url, text, "application/json") for _, text in values], server.told


def test_answer_ends_an_outage_and_is_progress_even_when_it_is_a_refusal():
    for status in (204, 404, 500):
        reply = Reply(b"", status_code=status)
        with Replies(reply) as server:
            server.device.schedule.silent_since_ms = 5
            try:
                server.device.report("state", 1)
            except AgentError:
                assert status != 204
            assert server.device.schedule.silent_since_ms is None and server.device.board.fed == 1, status
            assert reply.closed, status


def test_memory_that_does_not_suffice_is_not_called_silence():
    with World() as world:
        world.device.schedule.failures = 99
        try:
            outage.climb(world.device, MemoryError())
        except hardware.PowerLoss:
            assert "too little memory" in world.device.console.lines[-1]
        assert world.board.resets == 1


def test_restart_loses_no_reading_and_hardly_its_time():
    with World() as world:
        world.error = SILENCE
        for minute in range(0, 40, 5):
            world.report(minute)
            world.wait(5)
        assert world.board.resets == 1
        world.error = None
        for _ in range(8):
            assert world.report(99) is None
        kept = [(value, at_s) for _, value, at_s in world.heard if value != 99]
        assert [value for value, _ in kept] == list(range(0, 40, 5))
        for value, at_s in kept:
            assert abs(at_s - value * 60) <= 300, (value, at_s)


def test_kept_readings_are_bounded_and_the_newest_stay():
    with World() as world:
        outage_of(world, 20, RetryableError("server_error", 503))
        kept = world.board.memory.count(b"\n")
        assert 70 <= kept < 120 and len(world.board.memory) <= 2000
        world.error = None
        world.report(30)
        assert world.heard[0][2] == (120 - kept) * 600


def test_reading_that_the_server_refuses_for_good_holds_up_none():
    with World() as world:
        world.error = SILENCE
        world.report(1, "gone")
        world.report(2)
        world.error = None
        write = things.write_property

        def refusing(device, property_id, value, age_s=0):
            if property_id == "gone":
                raise PermanentError("no_property")
            write(device, property_id, value, age_s)

        things.write_property = refusing
        world.report(3)
        world.report(4)
        assert [value for _, value, _ in world.heard] == [3, 2, 4]
        world.error = PermanentError("no_property")
        world.report(5)
        world.error = None
        world.report(6)
        assert [value for _, value, _ in world.heard] == [3, 2, 4, 6], "refused, and still kept"


def test_reading_too_old_to_have_a_time_is_left_out():
    with World() as world:
        world.error = RetryableError("server_error", 503)
        world.report(1)
        world.wait(8 * 24 * 60)
        world.report(2)
        world.error = None
        world.report(3)
        world.report(4)
        assert [value for _, value, _ in world.heard] == [2, 3, 4]


def test_values_of_any_kind_are_kept():
    with World() as world:
        world.error = SILENCE
        values = ['a "b"\n', None, True, [1, 2], {"a": 1.5}, -0.5]
        for value in values:
            world.report(value)
        world.error = None
        for _ in values:
            world.report(0)
        assert [value for _, value, _ in world.heard if value != 0 or value is False] == values


def test_thing_that_is_not_activated_keeps_what_it_measures():
    with World() as world:
        world.device.report("temperature", 7, False)
        world.report(8)
        assert [value for _, value, _ in world.heard] == [7, 8]


def test_foreign_bytes_among_the_kept_readings_neither_stop_the_reports_nor_stay():
    for foreign in (b"\xff\xfe", b"a b c\n", b"12 temperature\n", b"12 temperature {\n", b"12\n\n", b"\n"):
        with World() as world:
            world.board.remember(b"\0" + foreign)
            world.error = SILENCE
            assert world.report(1) is SILENCE, foreign
            world.error = None
            assert [world.report(value) for value in (2, 3, 4, 5)] == [None] * 4, foreign
            assert {value for _, value, _ in world.heard} == {1, 2, 3, 4, 5}, foreign
            assert world.board.recall() == b"\0", foreign
