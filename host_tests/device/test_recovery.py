"""Accidents: what the device mends by itself, and what it asks a person for. The table of docs/what-it-refuses.md lists
them; each is lived through with the real server."""

import json
import re
import shutil

import httpx
import pytest

from host_tests.device.test_refusals import DOC
from host_tests.fakes.home import SERIAL, Home, is_done
from tools.factory.personal import secret_sha256


def accidents() -> dict[str, str]:
    """The doc's table: {accident: what a person has to do}."""
    section = DOC.read_text().partition("\n## Accidents\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)[2:]
    return {name: person for name, _, person in rows}


def assert_nothing_is_downloaded(console: str) -> None:
    assert "[4/5]" not in console, console


def lose_state(home: Home) -> None:
    thing_id = home.thing()["id"]
    home.change_files(state_json=None)
    console = home.power_on()
    assert f"[2/5] activated as thing {thing_id}" in console
    assert_nothing_is_downloaded(console)
    home.check_in_step("2", "ota_1")


def tear_state(home: Home) -> None:
    whole = home.twin().files()["/state.json"]
    for torn in (whole[: len(whole) // 2], b"", b"\xff" * len(whole), b"[]"):
        home.change_files(state_json=torn)
        console = home.power_on()
        assert console.count("[2/5] activated as thing") == 1
        assert_nothing_is_downloaded(console)
        home.check_in_step("2", "ota_1")


def lose_state_while_updating(home: Home) -> None:
    home.set_target("3")
    home.boot()  # up to the reset into the trial
    home.change_files(state_json=None)
    console = home.power_on()
    assert "has proven itself in ota_0" in console and "[4/5] firmware 3 into ota_1 |" in console
    home.check_in_step("3", "ota_1")


def drop_key(home: Home) -> None:
    stolen = httpx.put(f"{home.url}/v1/things/activate/{SERIAL}.json", trust_env=False).json()
    console = home.power_on()
    assert "[key_dropped]; activating again" in console and console.count("[2/5] activated") == 1
    assert_nothing_is_downloaded(console)
    assert home.twin().state()["apiKey"] != stolen["apiKey"]
    home.check_in_step("2", "ota_1")


def delete_thing(home: Home) -> None:
    old = home.thing()["id"]
    home.server.vendor.delete_thing(old)
    console = home.power_on()
    assert "activating again" in console and "[2/5] renamed to ThermometerDevice" in console
    assert "[5/5] version 2 confirmed" in console
    assert_nothing_is_downloaded(console)
    assert home.thing()["id"] != old
    home.check_in_step("2", "ota_1")


def take_target_back(home: Home) -> None:
    home.set_target("1")
    console = home.power_on()
    assert "[4/5] firmware 1 into ota_0 |" in console
    home.check_in_step("1", "ota_0")


def restore_old_server(home: Home) -> None:
    # The copy is from before the first activation, with version 1 as the target.
    home.close_server()
    shutil.rmtree(home.data)
    shutil.copytree(home.data.with_name("backup"), home.data)
    home.open_server()
    console = home.power_on()
    assert "activating again" in console and "[4/5] firmware 1 into ota_0 |" in console
    home.check_in_step("1", "ota_0")


def wipe_file_system(home: Home) -> None:
    files = home.twin().files()
    own = {path: files.pop(path) for path in ("/serial.txt", "/state.json")}
    home.write_file_system(files)
    console = home.power_on(lambda heard: "next try in" in heard)
    assert "/serial.txt is missing or empty: write the serial number into it [no_serial]" in console
    home.change_files(serial_txt=own["/serial.txt"])
    console = home.power_on()
    assert "[2/5] activated as thing" in console
    assert_nothing_is_downloaded(console)
    home.check_in_step("2", "ota_1")


def forget_serial_number(home: Home) -> None:
    files = home.twin().files()
    home.write_file_system({**files, "/serial.txt": b"THERM00000000000099\n", "/state.json": b""})
    console = home.power_on(lambda heard: "next try in" in heard)
    assert "the serial number is not registered at the server (404) [not_registered]" in console
    vendor = home.server.vendor
    vendor.add_serials(vendor.products()[0]["id"], ["THERM00000000000099"])
    home.power_on(is_done)
    assert vendor.thing("THERM00000000000099")["status"] == "up to date"


def change_secret(home: Home) -> None:
    vendor = home.server.vendor
    vendor.set_secret(SERIAL, "0" * 64)
    home.change_files(state_json=None)
    console = home.power_on(lambda heard: "next try in" in heard)
    assert "its device_secret is not the registered one, or it is blocked [not_allowed]" in console
    vendor.set_secret(SERIAL, secret_sha256("5e" * 16))
    config = json.loads(home.twin().files()["/config.json"])
    home.change_files(config_json=json.dumps(config | {"device_secret": "5e" * 16}).encode())
    home.power_on()
    home.check_in_step("2", "ota_1")


NOTHING = "nothing"
ACCIDENTS = {
    "`/state.json` is gone": (lose_state, NOTHING),
    "`/state.json` is torn, empty or foreign": (tear_state, NOTHING),
    "`/state.json` is gone while a firmware is on trial": (lose_state_while_updating, NOTHING),
    "another activation has dropped the key": (drop_key, NOTHING),
    "the thing is deleted at the server": (delete_thing, NOTHING),
    "the target goes back to an older version": (take_target_back, NOTHING),
    "the server is restored from an old copy": (restore_old_server, NOTHING),
    "the file system is wiped": (wipe_file_system, "put agent"),
    "the server has another device secret for the serial number, or has blocked it": (
        change_secret,
        "the serial number",
    ),
    "the server does not know the serial number": (forget_serial_number, "register"),
}


def test_every_accident_of_the_table_is_lived_through():
    assert set(accidents()) == set(ACCIDENTS)


@pytest.fixture(scope="module")
def in_step(tmp_path_factory):
    """A home whose thermometer is in step with version 2, and a copy of its server from before that."""
    home = Home(tmp_path_factory.mktemp("home"), "cpython")
    home.set_target("1")
    home.close_server()
    shutil.copytree(home.data, home.data.with_name("backup"))
    home.open_server()
    home.set_target("2")
    home.power_on()
    home.close_server()
    return home


@pytest.mark.parametrize("name", ACCIDENTS)
def test_accident(in_step, tmp_path, name):
    live_through, person = ACCIDENTS[name]
    assert person in accidents()[name]
    with in_step.copy_to(tmp_path) as home:
        shutil.copytree(in_step.data.with_name("backup"), home.data.with_name("backup"))
        live_through(home)
