"""What never works must not wear the flash out: downloads a day, malformed bodies, and when a quarantine ends."""

from agent.errors import PermanentError, RetryableError
from agent.record import Pending, Version
from gadgetkeeper.refusal import refusal
from ota import hold

from host_tests.unit.expect import raises
from host_tests.unit.test_update import NEW, V1, V2, V3, Bench, Vendor
from tools.proof.reply import Reply, as_string
from tools.twin import hardware

MORNING = "Thu, 26 Nov 2026 08:00:00 GMT"
EVENING = "Thu, 26 Nov 2026 23:59:59 GMT"
TOMORROW = "Fri, 27 Nov 2026 00:00:01 GMT"


class Server(Vendor):
    """A vendor's server that gives this body as every version's firmware. `given` counts."""

    def __init__(self, body=NEW, kind="application/octet-stream", date=MORNING, bounded=True):
        super().__init__()
        self.body, self.kind, self.date, self.bounded = body, kind, date, bounded
        self.given = 0

    def answer(self, method, url, data, headers):
        reply = super().answer(method, url, data, headers)
        if url.endswith("firmware.json"):
            self.given += 1
            reply = Reply(self.body, kind=self.kind, bounded=self.bounded, length=self.bounded)
        if self.date:
            reply.headers["date"] = self.date
        return reply

    def reach(self, board, target=V2):
        """One start and round with this target; True when the board was reset for its trial."""
        self.target = target
        board.start()
        try:
            self.round(board)
        except hardware.PowerLoss:
            return True
        return False


def flip(board, server, count=12):
    """Have the target flip between two versions, and the slots be as before each time; how many were downloaded."""
    before = server.given
    for number in range(count):
        board.device.record.save(pending=None)
        server.reach(board, (V2, V3)[number % 2])
    return server.given - before


def test_target_that_flips_back_and_forth_costs_no_more_than_eight_slots_a_day():
    board, server = Bench(), Server()
    assert flip(board, server) == 8
    assert "waits: 8 downloads were begun today" in "".join(board.device.console.lines)
    server.date = EVENING
    assert flip(board, server, 2) == 0
    server.date = TOMORROW
    assert flip(board, server) == 8


def test_board_without_a_date_counts_by_its_own_days():
    class Time:
        now_s = 0

        @staticmethod
        def time():
            return Time.now_s

    board, server = Bench(), Server(date=None)
    kept, hold.time = hold.time, Time
    try:
        assert flip(board, server) == 8
        Time.now_s = 86399
        assert flip(board, server, 2) == 0
        Time.now_s = 86400
        assert flip(board, server, 2) == 2
    finally:
        hold.time = kept


def test_image_that_is_there_already_needs_no_download_and_is_not_held():
    board, server = Bench(), Server()
    assert server.reach(board) and server.given == 1
    board.device.record.save(day=9826, downloads=8)
    server.date = MORNING
    assert board.start().device.record.pending.phase == "armed"
    assert server.reach(board) and server.given == 1


def test_download_that_goes_on_is_not_held_and_one_that_starts_anew_is():
    board = Bench()
    record, target = board.device.record, Version(V2, "2")
    pending = Pending(V2, "ota_1")
    record.write_ahead(pending, day=hold.today(board.device), downloads=8)
    assert "8 downloads" in hold.why_held(board.device, target)
    pending.head = "00" * 64
    assert hold.why_held(board.device, target) is None


MALFORMED = {
    "characters that are none of base64": as_string(NEW)[:-9] + b"!!!!" + as_string(NEW)[-9:],
    "text behind it": as_string(NEW) + b"}",
    "an object that does not end": b'{"firmware": ' + as_string(NEW),
    "no closing quote": as_string(NEW)[:-1],
}


def test_malformed_firmware_is_given_up_after_three_slots():
    for name, body in MALFORMED.items():
        board, server = Bench(), Server(body, "application/json")
        for attempt in range(3):
            raises(RetryableError, MALFORMED_CODES[name], server.reach, board)
            assert board.saved()["update"]["attempts"] == attempt + 1, name
        for _ in range(3):
            assert not server.reach(board), name
        assert server.given == 3 and board.saved()["quarantined"] == V2, name


MALFORMED_CODES = {
    "characters that are none of base64": "bad_base64",
    "text behind it": "bad_firmware_body",
    "an object that does not end": "firmware_cut",
    "no closing quote": "firmware_cut",
}


def test_login_page_in_place_of_a_firmware_is_no_fault_of_the_firmware():
    for body in (b"<html>", b'"<html>"', b"", b'{"a": 1}'):
        board, server = Bench(), Server(body, "application/json")
        for _ in range(5):
            try:
                server.reach(board)
            except RetryableError:
                continue
            raise AssertionError(body)
        assert server.given == 5 and "quarantined" not in board.saved(), body


def test_answer_that_is_cut_by_the_network_is_no_fault_of_the_firmware():
    board, server = Bench(), Server(as_string(NEW)[:-400], "application/json", bounded=False)
    for _ in range(5):
        raises(RetryableError, "firmware_cut", server.reach, board)
    assert "quarantined" not in board.saved() and board.saved()["update"]["attempts"] == 0


def test_quarantine_lasts_while_the_target_does_and_ends_when_another_was_seen():
    board, server = Bench(), Server()
    board.device.record.save(quarantined=V2)
    for _ in range(3):
        assert not server.reach(board)
    assert server.given == 0 and board.saved()["quarantined"] == V2
    assert not server.reach(board, V1), "in step"
    assert "quarantined" not in board.saved()
    assert server.reach(board) and server.given == 1


def test_refusal_means_what_its_call_makes_of_it():
    for name, status, error, code in (
        ("activate", 401, PermanentError, "refused"),
        ("activate", 403, PermanentError, "not_allowed"),
        ("activate", 404, PermanentError, "not_registered"),
        ("get target version", 401, RetryableError, "key_dropped"),
        ("get target version", 403, PermanentError, "refused"),
        ("get target version", 410, PermanentError, "no_target"),
        ("get target version", 408, RetryableError, "server_error"),
        ("get target version", 429, RetryableError, "server_error"),
        ("get target version", 500, RetryableError, "server_error"),
    ):
        found = refusal(name, Reply(status_code=status), True)
        assert type(found) is error and found.code == code, (name, status)


def test_server_that_is_not_verified_is_left_alone_for_an_hour_at_most():
    for asked, verified_s, unverified_s in (
        ("60", 60, 60),
        ("86400", 86400, 3600),
        (TOMORROW, 57601, 3600),
        ("x", None, 0),
    ):
        reply = Reply(status_code=503)
        reply.headers["retry-after"], reply.headers["date"] = asked, MORNING
        name = "get target version"
        assert refusal(name, reply, True).retry_after_s == verified_s, asked
        assert (refusal(name, reply, False).retry_after_s or 0) == unverified_s, asked
