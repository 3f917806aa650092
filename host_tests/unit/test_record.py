"""The record on flash: never torn, never believed blindly, never written for nothing."""

import json
import os

from agent import files
from agent.errors import PermanentError, RetryableError
from agent.identifiers import is_etag
from agent.record import ARMED, ROLLED_BACK, Pending, Record
from agent.record_reader import read_record
from agent.serial_number import read_serial_number
from gadgetkeeper import provision

from host_tests.fakes.device import fake_device
from host_tests.unit.expect import raises
from tools.proof import scratch

EVERY_MEMBER = {
    "thing_id": "a" * 32,
    "api_key": "b" * 32,
    "server": "http://server",
    "signed": True,
    "sensors": "28ff0102030405ff",
    "renamed": True,
    "version_id": "1",
    "slot": "ota_0",
    "image": "f" * 32,
    "confirmed": True,
    "previous_id": "0",
    "previous_image": "e" * 32,
    "floor": 7,
    "quarantined": "2",
    "day": 9824,
    "downloads": 3,
    "outcome": {"phase": "trial", "versionId": "2", "attempt": 1, "code": None},
    "time_s": 846806400,
}
BEGUN = {"head": "0" * 128, "etag": '"one"', "size_bytes": 12345, "error_code": "truncated"}


def write(root, name, content):
    with open(root + name, "wb") as file:
        file.write(content)


def on_flash(root):
    with open(root + "state.json") as file:
        return json.load(file)


def members(record):
    return {name: getattr(record, name) for name in EVERY_MEMBER}


def test_serial_number_is_read_and_trimmed():
    root = scratch.folder()
    write(root, "serial.txt", b" THERM00000000000001\r\n")
    assert read_serial_number(root) == "THERM00000000000001"
    write(root, "serial.txt", b"\xef\xbb\xbfTHERM00000000000001\r\n")
    assert read_serial_number(root) == "THERM00000000000001", "as Windows' Notepad saves it"


def test_serial_that_cannot_be_one_is_refused_with_a_sentence():
    root = scratch.folder()
    raises(PermanentError, "no_serial", read_serial_number, root)
    for content in (b"", b"  \n"):
        write(root, "serial.txt", content)
        raises(PermanentError, "no_serial", read_serial_number, root)
    for content in (b"../../etc", b"A B", b"A/B", b"\xff\xfe", b"X" * 65, b"A\r\nX-Evil: 1"):
        write(root, "serial.txt", content)
        raises(PermanentError, "bad_serial", read_serial_number, root)


def test_every_member_survives_a_reset():
    root = scratch.folder()
    record = Record(root)
    assert set(EVERY_MEMBER) | {"pending", "dirty", "_root"} == set(record.__dict__), "a member that is not tested"
    record.save(**EVERY_MEMBER)
    assert members(read_record(root)) == EVERY_MEMBER
    assert not record.dirty and read_record(root).pending is None


def test_every_step_of_an_update_survives_a_reset():
    root = scratch.folder()
    begun = Pending("2", "ota_1", 1)
    for name, value in BEGUN.items():
        setattr(begun, name, value)
    armed = Pending("2", "ota_1", 2, ARMED)
    armed.image = "f" * 32
    rolled_back = Pending("2", "ota_1", 3, ROLLED_BACK)
    rolled_back.image, rolled_back.error_code = "f" * 32, "rolled_back"
    for pending in (Pending("2", "ota_1"), begun, armed, rolled_back):
        Record(root).write_ahead(pending)
        assert read_record(root).pending.__dict__ == pending.__dict__


def test_download_that_cannot_be_resumed_is_read_as_one_that_starts_over():
    root = scratch.folder()
    for name, value in (
        ("head", "0" * 127),
        ("head", 5),
        ("head", "g/" * 64),
        ("etag", 'W/"a"'),
        ("etag", '"a\n"'),
        ("etag", '"a b"'),
    ):
        update = {"versionId": "2", "slot": "ota_1", "attempts": 1, "phase": "download"}
        update.update({"head": "0" * 128, "etag": '"one"', "size": 12345, name: value})
        write(root, "state.json", json.dumps({"update": update}).encode())
        pending = read_record(root).pending
        assert (pending.version_id, pending.attempts, pending.head) == ("2", 1, None), (name, value)
    update["etag"] = '"one"'
    for size in (-1, "9", None, True, 1 << 31):
        update["size"] = size
        write(root, "state.json", json.dumps({"update": update}).encode())
        assert read_record(root).pending.head is None, size


def test_update_that_cannot_be_is_none():
    root = scratch.folder()
    whole = {"versionId": "2", "slot": "ota_1", "attempts": 1, "phase": "armed", "image": "f"}
    for name, value in (
        ("versionId", None),
        ("versionId", "../x"),
        ("slot", 5),
        ("attempts", -1),
        ("attempts", "1"),
        ("attempts", True),
        ("phase", "done"),
        ("phase", ["armed"]),
        ("image", None),
        ("image", 5),
    ):
        update = dict(whole)
        update[name] = value
        write(root, "state.json", json.dumps({"update": update}).encode())
        assert read_record(root).pending is None, (name, value)


def test_none_removes():
    root = scratch.folder()
    record = Record(root)
    record.save(version_id="b", thing_id="a")
    record.save(version_id=None)
    assert "versionId" not in on_flash(root) and read_record(root).thing_id == "a"


def test_torn_empty_or_foreign_record_means_a_new_start():
    nothing = members(Record("/"))
    nested = b"[" * 8000
    for content in (
        b"",
        b'{"thingId": "a',
        b"[]",
        b"\xff\xff",
        b"null",
        b"12",
        b'{"update": {"versionId": "a"}}',
        nested,
    ):
        root = scratch.folder()
        write(root, "state.json", content)
        record = read_record(root)
        assert members(record) == nothing and record.pending is None, content
        assert not record.dirty


def test_wrong_types_in_the_record_are_dropped_one_by_one():
    root = scratch.folder()
    foreign = {"thingId": 5, "apiKey": "k\r\nX: y", "renamed": "yes", "confirmed": 1, "signed": [], "other": 1}
    foreign.update({"floor": -1, "time": 1 << 31, "verdict": {"phase": "trial"}, "server": 5, "versionId": "v"})
    write(root, "state.json", json.dumps(foreign).encode())
    expected = members(Record("/"))
    expected["version_id"] = "v"
    assert members(read_record(root)) == expected


def test_nothing_is_written_when_nothing_changed():
    root = scratch.folder()
    Record(root).save(thing_id="a")
    record = read_record(root)
    os.remove(root + "state.json")
    record.save(thing_id="a")
    assert "state.json" not in os.listdir(root)
    record.save(thing_id="b")
    assert "state.json" in os.listdir(root)


def test_another_thing_means_that_nothing_is_renamed_or_confirmed_yet():
    device = fake_device(server="http://server", signing_keys=["0" * 128])
    record = device.record
    record.save(thing_id="a", api_key="k", renamed=True, confirmed=True)
    kept, answered = provision.answer, {}
    provision.answer = lambda device, name, serial: answered
    try:
        answered.update({"thingId": "a", "apiKey": "k2"})
        provision.activate(device, "THERM1")
        saved = read_record(device.root)
        assert (saved.thing_id, saved.api_key, saved.renamed, saved.confirmed) == ("a", "k2", True, True)
        assert (saved.server, saved.signed) == ("http://server", True)
        answered.update({"thingId": "b", "apiKey": "k3"})
        provision.activate(device, "THERM1")
        saved = read_record(device.root)
        assert (saved.thing_id, saved.api_key, saved.renamed, saved.confirmed) == ("b", "k3", False, False)
    finally:
        provision.answer = kept


def test_full_flash_keeps_the_old_record_whole_and_the_new_one_to_be_written():
    root = scratch.folder()
    record = Record(root)
    record.save(thing_id="a")

    class Full:
        def __init__(self, name, mode):
            self.file = open(name, mode)  # noqa: SIM115

        def write(self, text):
            self.file.write(text[:5])
            raise OSError(28)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    files.open = Full
    try:
        raises(RetryableError, "state_not_saved", lambda: record.save(thing_id="b"))
    finally:
        del files.open
    assert read_record(root).thing_id == "a" and record.dirty
    record.save()
    assert read_record(root).thing_id == "b" and not record.dirty


def test_strong_entity_tag_of_any_server_is_one_and_nothing_else_is():
    for etag in ('"5f3c-1a2b"', '"0a1b2c3d4e5f:0"', '"d41d8cd98f00b204e9800998ecf8427e-3"', '"CJ6f+/Pq/4kDEAE="',
                 '"0x8D9F\\x"', "\"it's\"", '"' + "a" * 128 + '"'):  # fmt: skip
        assert is_etag(etag), etag
    for other in ('W/"a"', 'w/"a"', "a", '""', '"', "", '"a', 'a"', '"a"b"', '"a b"', '"a\r\nX: y"', '"\x7f"',
                  '"\u00e4"', None, 5, '"' + "a" * 129 + '"'):  # fmt: skip
        assert not is_etag(other), other
