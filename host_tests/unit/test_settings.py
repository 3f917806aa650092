"""The settings: never open by mistake, never half, never shown."""

import json
import os

from agent.device import Device
from agent.errors import PermanentError, RetryableError
from agent.settings import table
from agent.settings_reader import load_settings

from host_tests.fakes.device import FakeBoard, FakeConsole
from host_tests.unit.expect import raises
from tools.proof import scratch

DEFAULTS = {setting.name: setting.default for setting in table()}
MANIFEST = {"product": "Thermometer", "release": 3, "floor": 2, "app": "thermometer"}


def a_device():
    root = scratch.folder()
    os.mkdir(root + "release")
    return Device(FakeBoard(), FakeConsole(), root, root + "release/")


def write(device, content, name="config.json"):
    with open(device.root + name, "wb") as file:
        file.write(content if isinstance(content, bytes) else json.dumps(content).encode())


def loaded(device):
    load_settings(device)
    return {setting.name: getattr(device.settings, setting.name) for setting in table()}


def test_without_a_file_all_are_the_defaults():
    device = a_device()
    assert loaded(device) == DEFAULTS
    assert (device.settings.app, device.settings.floor) == ("thermometer", 0)


def test_file_that_cannot_be_used_is_refused_without_showing_values_and_nothing_is_sent_anywhere():
    device = a_device()
    for content in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 8000):
        write(device, content)
        raises(PermanentError, "no_config", load_settings, device)
        assert device.settings.server == "", content
    for content in (
        {"wifi": "secret-1"},
        {"check_interval_s": 0},
        {"report_interval_s": 1 << 31},
        {"start_spread_s": -1},
        {"start_spread_s": True},
        {"server": ["secret-2"]},
        {"signing_keys": ["secret-3"]},
        {"signing_keys": ["0" * 64] * 4},
        {"device_secret": "secret-4\r\nX-ApiKey: x"},
        {"device_secret": "secret-5 x"},
    ):
        write(device, content)
        assert "secret-" not in raises(PermanentError, "bad_config", load_settings, device), content
        assert device.settings.server == "", content


def test_damaged_file_leaves_the_settings_that_were_in_use():
    device = a_device()
    write(device, {"server": "http://x", "unknown": 1})
    assert loaded(device)["server"] == "http://x"
    write(device, b"{")
    raises(PermanentError, "no_config", load_settings, device)
    assert device.settings.server == "http://x"


def test_lost_file_sends_the_key_to_no_other_server_and_takes_no_unsigned_release():
    device = a_device()
    device.record.api_key, device.record.server = "k", "http://own"
    raises(PermanentError, "config_gone", load_settings, device)
    assert device.settings.server == ""
    write(device, {"server": "http://own"})
    load_settings(device)
    device.record.signed = True
    raises(PermanentError, "config_gone", load_settings, device)
    write(device, {"server": "http://own", "signing_keys": ["0" * 64]})
    assert loaded(device)["signing_keys"] == ["0" * 64]


def test_release_replaces_trust_and_intervals_and_nothing_that_is_the_boards_own():
    device = a_device()
    write(device, {"server": "http://own", "thing_name": "Mine"})
    manifest = dict(MANIFEST)
    manifest["settings"] = {"server": "https://new", "check_interval_s": 60}
    write(device, manifest, "release/manifest.json")
    values = loaded(device)
    assert (values["server"], values["check_interval_s"], values["thing_name"]) == ("https://new", 60, "Mine")
    assert device.settings.floor == 2
    for settings in ({"wifi": []}, {"thing_name": "Theirs"}, {"server": 5}, {"unknown": 1}, {"check_interval_s": 0}):
        manifest["settings"] = settings
        write(device, manifest, "release/manifest.json")
        raises(PermanentError, "bad_manifest", load_settings, device)
        assert device.settings.server == "https://new", settings


def test_file_that_cannot_be_read_is_not_taken_for_a_missing_one():
    for name in ("config.json", "release/manifest.json"):
        device = a_device()
        write(device, {"server": "http://own", "signing_keys": ["0" * 64]})
        load_settings(device)
        if name == "config.json":
            os.remove(device.root + name)
        os.mkdir(device.root + name)  # opening it fails, and not for want of it
        raises(RetryableError, "unreadable", load_settings, device)
        assert (device.settings.server, device.settings.signing_keys) == ("http://own", ["0" * 64]), name
        fresh = Device(FakeBoard(), FakeConsole(), device.root, device.release)
        raises(RetryableError, "unreadable", load_settings, fresh)
        assert fresh.settings.server == "", name


def test_manifest_that_cannot_be_is_refused_and_changes_nothing():
    for content in (b"\xff\xfe", b"", b"[]", b"{", b" " * 9000 + json.dumps(MANIFEST).encode()):
        device = a_device()
        write(device, {"server": "http://own"})
        load_settings(device)
        write(device, content, "release/manifest.json")
        raises(PermanentError, "bad_manifest", load_settings, device)
        assert device.settings.server == "http://own", content[:10]


def test_release_that_drops_the_keys_or_would_go_to_the_default_server_is_refused():
    device = a_device()
    device.record.api_key, device.record.server, device.record.signed = "k", "http://own", True
    write(device, {"server": "http://own", "signing_keys": ["0" * 64]})
    manifest = dict(MANIFEST)
    manifest["settings"] = {"signing_keys": []}
    write(device, manifest, "release/manifest.json")
    raises(PermanentError, "config_gone", load_settings, device)
    manifest["settings"] = {"signing_keys": ["1" * 64], "server": "https://new"}
    write(device, manifest, "release/manifest.json")
    os.remove(device.root + "config.json")
    values = loaded(device)
    assert (values["server"], values["signing_keys"]) == ("https://new", ["1" * 64])


def test_settings_with_a_byte_order_mark_are_read():
    device = a_device()
    write(device, b'\xef\xbb\xbf{"server": "http://mine", "country": "DE"}\r\n')
    load_settings(device)
    assert device.settings.server == "http://mine" and device.settings.country == "DE"


def test_sensors_and_country_that_cannot_be_are_refused():
    device = a_device()
    for name, value in (
        ("sensors", {"28FF010203040506": "a"}),
        ("sensors", {"28ff": "a"}),
        ("sensors", {"28ff010203040506": "a/b"}),
        ("sensors", {"28ff010203040506": 5}),
        ("sensors", []),
        ("country", "de"),
        ("country", "DEU"),
        ("country", 49),
    ):
        write(device, {name: value})
        assert raises(PermanentError, "bad_config", load_settings, device).find(name) >= 0
