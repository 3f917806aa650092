"""The record on flash: never torn, never believed blindly, never written for nothing."""

import os

import gadgetkeeper.store
import scratch
from gadgetkeeper.errors import FinalError, RetryableError
from gadgetkeeper.store import DEFAULTS, Store
from world import raises


def write(root, name, content):
    with open(root + name, "wb") as file:
        file.write(content)


def test_serial_number_is_read_and_trimmed():
    root = scratch.folder()
    write(root, "serial.txt", b" THERM00000000000001\r\n")
    assert Store(root).serial_number() == "THERM00000000000001"


def test_serial_that_cannot_be_one_is_refused_with_a_sentence():
    root = scratch.folder()
    assert "missing" in raises(FinalError, "no_serial", Store(root).serial_number)
    for content in (b"", b"  \n"):
        write(root, "serial.txt", content)
        assert "empty" in raises(FinalError, "no_serial", Store(root).serial_number)
    for content in (b"../../etc", b"A B", b"A/B", b"\xff\xfe", b"X" * 65, b"A\r\nX-Evil: 1"):
        write(root, "serial.txt", content)
        raises(FinalError, "bad_serial", Store(root).serial_number)


def test_config_falls_back_to_defaults_and_refuses_wrong_types_without_showing_values():
    root = scratch.folder()
    assert Store(root).config() == DEFAULTS
    write(root, "config.json", b'{"server": "http://x", "unknown": 1}')
    assert Store(root).config()["server"] == "http://x"
    for content in (b"", b"{", b"[]", b'{"wifi": "secret-1"}', b'{"check_interval_s": 0}', b'{"server": ["secret-2"]}'):
        write(root, "config.json", content)
        assert "secret" not in raises(FinalError, "bad_config", Store(root).config)


def test_record_survives_and_none_removes():
    root = scratch.folder()
    store = Store(root)
    store.keep(thingId="a" * 32, renamed=True, versionId="b")
    store.keep(versionId=None)
    assert Store(root).state == {"thingId": "a" * 32, "renamed": True}


def test_torn_empty_or_foreign_record_means_a_new_start():
    for content in (b"", b'{"thingId": "a', b"[]", b"\xff\xff", b"null", b"12", b'{"update": {"versionId": "a"}}'):
        root = scratch.folder()
        write(root, "state.json", content)
        assert Store(root).state == {}, content


def test_wrong_types_in_the_record_are_dropped_one_by_one():
    root = scratch.folder()
    write(
        root, "state.json", b'{"thingId": 5, "apiKey": "k\\r\\nX: y", "renamed": "yes", "versionId": "v", "other": 1}'
    )
    assert Store(root).state == {"versionId": "v"}


def test_nothing_is_written_when_nothing_changed():
    root = scratch.folder()
    Store(root).keep(thingId="a")
    os.rename(root + "state.json", root + "moved")
    os.rename(root + "moved", root + "state.json")
    store = Store(root)
    os.remove(root + "state.json")
    store.keep(thingId="a")
    assert "state.json" not in os.listdir(root)


def test_another_thing_means_that_nothing_is_renamed_or_confirmed_yet():
    root = scratch.folder()
    store = Store(root)
    store.keep(thingId="a", apiKey="k", renamed=True, confirmed=True)
    store.keep_credentials("a", "k2")
    assert Store(root).state == {"thingId": "a", "apiKey": "k2", "renamed": True, "confirmed": True}
    store.keep_credentials("b", "k3")
    assert Store(root).state == {"thingId": "b", "apiKey": "k3", "renamed": False, "confirmed": False}


def test_full_flash_keeps_the_old_record_whole():
    root = scratch.folder()
    store = Store(root)
    store.keep(thingId="a")

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

    gadgetkeeper.store.open = Full
    try:
        raises(RetryableError, "state_not_saved", lambda: store.keep(thingId="b"))
    finally:
        del gadgetkeeper.store.open
    assert Store(root).state == {"thingId": "a"}
