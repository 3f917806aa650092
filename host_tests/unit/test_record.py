"""The record on flash: never torn, never believed blindly, never written for nothing."""

import os

import gadgetkeeper.store
from gadgetkeeper import steps
from gadgetkeeper.errors import FinalError, RetryableError
from gadgetkeeper.files import DEFAULTS, config, record, serial_number
from gadgetkeeper.store import keep

from host_tests.unit.expect import raises
from tools.proof import scratch


def folder():
    """A new flash."""
    gadgetkeeper.store.root = scratch.folder()
    return gadgetkeeper.store.root


def settings():
    given = {}
    config(given)
    return given


def write(root, name, content):
    with open(root + name, "wb") as file:
        file.write(content)


def test_serial_number_is_read_and_trimmed():
    root = folder()
    write(root, "serial.txt", b" THERM00000000000001\r\n")
    assert serial_number() == "THERM00000000000001"


def test_serial_that_cannot_be_one_is_refused_with_a_sentence():
    root = folder()
    raises(FinalError, "no_serial", serial_number)
    for content in (b"", b"  \n"):
        write(root, "serial.txt", content)
        raises(FinalError, "no_serial", serial_number)
    for content in (b"../../etc", b"A B", b"A/B", b"\xff\xfe", b"X" * 65, b"A\r\nX-Evil: 1"):
        write(root, "serial.txt", content)
        raises(FinalError, "bad_serial", serial_number)


def test_config_falls_back_to_defaults_and_refuses_wrong_types_without_showing_values():
    root = folder()
    assert settings() == DEFAULTS
    write(root, "config.json", b'{"server": "http://x", "unknown": 1}')
    assert settings()["server"] == "http://x"
    for content in (b"", b"{", b"[]"):
        write(root, "config.json", content)
        raises(FinalError, "no_config", settings)
    for content in (
        b'{"wifi": "secret-1"}',
        b'{"check_interval_s": 0}',
        b'{"start_spread_s": -1}',
        b'{"server": ["secret-2"]}',
    ):
        write(root, "config.json", content)
        assert "secret" not in raises(FinalError, "bad_config", settings)


def test_record_survives_and_none_removes():
    folder()
    state = record()
    keep(state, thingId="a" * 32, renamed=True, versionId="b")
    keep(state, versionId=None)
    assert record() == {"thingId": "a" * 32, "renamed": True}


def test_torn_empty_or_foreign_record_means_a_new_start():
    for content in (b"", b'{"thingId": "a', b"[]", b"\xff\xff", b"null", b"12", b'{"update": {"versionId": "a"}}'):
        root = folder()
        write(root, "state.json", content)
        assert record() == {}, content


def test_wrong_types_in_the_record_are_dropped_one_by_one():
    root = folder()
    write(
        root, "state.json", b'{"thingId": 5, "apiKey": "k\\r\\nX: y", "renamed": "yes", "versionId": "v", "other": 1}'
    )
    assert record() == {"versionId": "v"}


def test_nothing_is_written_when_nothing_changed():
    root = folder()
    keep({}, thingId="a")
    os.rename(root + "state.json", root + "moved")
    os.rename(root + "moved", root + "state.json")
    state = record()
    os.remove(root + "state.json")
    keep(state, thingId="a")
    assert "state.json" not in os.listdir(root)


class Activation:
    """An Api that activates as this thing with this key."""

    def __init__(self, thing_id, api_key):
        self._answer = thing_id, api_key

    def activate(self, serial):
        return self._answer


def test_another_thing_means_that_nothing_is_renamed_or_confirmed_yet():
    folder()
    state = record()
    keep(state, thingId="a", apiKey="k", renamed=True, confirmed=True)
    steps.activate(Activation("a", "k2"), "THERM1", state)
    assert record() == {"thingId": "a", "apiKey": "k2", "renamed": True, "confirmed": True}
    steps.activate(Activation("b", "k3"), "THERM1", state)
    assert record() == {"thingId": "b", "apiKey": "k3", "renamed": False, "confirmed": False}


def test_full_flash_keeps_the_old_record_whole():
    folder()
    state = record()
    keep(state, thingId="a")

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
        raises(RetryableError, "state_not_saved", lambda: keep(state, thingId="b"))
    finally:
        del gadgetkeeper.store.open
    assert record() == {"thingId": "a"}
