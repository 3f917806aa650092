"""The customer's scenario end to end: the agent on its runtime, real firmware images, the real server, real sockets."""

import json

import pytest

from host_tests.fakes.home import IMAGES, Home
from tools import demo, factory, firmware, release, server
from tools.proof.releases import small_release
from tools.twin.__main__ import is_done, make_app, make_factory_fresh
from tools.twin.device import Twin
from tools.twin.paths import VM

SERIAL = "THERM00000000000001"

RUNTIME = "vm" if VM.exists() else "cpython"  # releases are compiled


BUILD_DATE = slice(128, 144)  # in an app image


@pytest.fixture(scope="session")
def releases() -> dict[str, bytes]:
    """The factory's release; one whose product has changed; one in which MicroPython's bytes have changed as well."""
    rebuilt = bytearray(firmware.app_image("1.27.0"))
    rebuilt[BUILD_DATE] = b"Nov  1 2026".ljust(16, b"\0")
    app = release.seal(bytes(rebuilt))
    other = release.make_release(app, release.Contents(3), source=not VM.exists())
    return {"1": make_app(1), "2": demo.make_version_2(), "3": other}


@pytest.fixture
def world(tmp_path, releases, request):
    """A server with the three releases, the second one being the target, and a factory-fresh thermometer."""
    form = getattr(request, "param", "auto")
    with server.running(tmp_path / "server", firmware_form=form) as running:
        vendor = running.vendor
        template = vendor.create_template("Thermometer")
        vendor.add_serials(vendor.create_product("Thermometer", template["id"])["id"], [SERIAL])
        versions = {}
        for name, image in releases.items():
            path = tmp_path / f"{name}.bin"
            path.write_bytes(image)
            versions[name] = vendor.create_version(template["id"], path)["id"]
        vendor.set_target(template["id"], versions["2"])
        flash = tmp_path / "flash.bin"
        make_factory_fresh(flash, SERIAL, running.url)
        yield running, flash, versions, template


def power_on(flash, runtime, **how):
    result = Twin(flash, runtime).power_on(until=is_done, **how)
    assert result.reason == "until", result.console
    return result.console


def check_in_step(running, flash, version_id, image):
    thing = running.vendor.thing(SERIAL)
    assert thing["name"] == "ThermometerDevice"
    assert thing["currentVersion"]["id"] == thing["targetVersion"]["id"] == version_id
    assert thing["properties"]["temperature"] == 21.5
    twin = Twin(flash, RUNTIME)
    state = twin.state()
    assert state["versionId"] == version_id
    assert twin.slot_bytes(state["slot"], len(image)) == image
    assert twin.files()["/serial.txt"].decode().strip() == SERIAL


@pytest.mark.vm
@pytest.mark.parametrize("world", ["string", "object", "raw"], indirect=True)
def test_every_body_form_on_an_esp32s_heap(world, releases):
    running, flash, versions, _ = world
    power_on(flash, "vm")
    check_in_step(running, flash, versions["2"], releases["2"])


def test_from_the_factory_to_confirmed_and_then_nothing_is_left_to_do(world, releases):
    running, flash, versions, _ = world
    console = power_on(flash, RUNTIME)
    steps = ["[1/5] serial number THERM00000000000001", "[2/5] activated", "[2/5] renamed to ThermometerDevice"]
    steps += ["[3/5] target version 2", "[4/5] firmware 2 into ota_1 |", "on trial", "[5/5] version 2 confirmed"]
    places = [console.index(step) for step in steps]
    assert places == sorted(places), console
    assert "21.5 C = 70.7 F reported" in console, "not version 2's code"
    check_in_step(running, flash, versions["2"], releases["2"])
    written = flash.read_bytes()
    again = power_on(flash, RUNTIME)
    assert "[2/5]" not in again and "[4/5]" not in again and "[5/5]" not in again
    assert flash.read_bytes() == written, "a boot that is in step has written to flash"


def test_update_of_micropython_itself_and_the_way_back_are_updates_like_any_other(world, releases):
    running, flash, versions, template = world
    power_on(flash, RUNTIME)
    for name in ("3", "1"):
        running.vendor.set_target(template["id"], versions[name])
        console = power_on(flash, RUNTIME)
        assert "21.5 C reported\n" in console, "not its own code"
        check_in_step(running, flash, versions[name], releases[name])


def test_second_activation_elsewhere_is_met_with_one_activation(world):
    running, flash, _, _ = world
    power_on(flash, RUNTIME)
    import httpx

    thing_id = running.vendor.thing(SERIAL)["id"]
    stolen = httpx.put(f"{running.url}/v1/things/activate/{SERIAL}.json").json()
    assert stolen["thingId"] == thing_id
    console = power_on(flash, RUNTIME)
    assert console.count("[2/5] activated") == 1, console
    assert "[2/5] renamed" not in console and "[4/5]" not in console


def test_version_already_confirmed_at_the_server_is_taken_from_there(world):
    running, flash, versions, template = world
    import httpx

    thing = httpx.put(f"{running.url}/v1/things/activate/{SERIAL}.json").json()
    confirm = f"{running.url}/v1/things/{thing['thingId']}/versions/{versions['1']}.json"
    httpx.put(confirm, headers={"X-ApiKey": thing["apiKey"]}).raise_for_status()
    running.vendor.set_target(template["id"], versions["1"])
    console = power_on(flash, RUNTIME)
    assert "[4/5]" not in console
    assert Twin(flash, RUNTIME).state()["versionId"] == versions["1"]


def test_secrets_reach_no_console(world):
    _, flash, _, _ = world
    console = power_on(flash, RUNTIME)
    state = json.loads(Twin(flash, RUNTIME).files()["/state.json"])
    assert state["apiKey"] not in console
    assert "twin-password" not in console


def test_board_with_the_former_slots_updates_and_refuses_what_only_new_boards_have_room_for(tmp_path):
    most = factory.place("ota_1", factory.LAYOUT).size
    spare = most - len(small_release(3, 0, source=True)) - 4096
    images = {**IMAGES, "3": small_release(3, spare, source=True)}
    assert factory.FORMER_SLOT_BYTES < len(images["3"]) <= most
    for partitions in (factory.FORMER_LAYOUT, factory.LAYOUT):
        folder = tmp_path / f"{partitions[-1].size}"
        folder.mkdir()
        with Home(folder, RUNTIME, images=images, partitions=partitions) as home:
            home.power_on()
            home.check_in_step("2", "ota_1")
            before = home.twin().slot_bytes("ota_0", 8192)
            home.set_target("3")
            if partitions == factory.LAYOUT:
                home.power_on()
                home.check_in_step("3", "ota_0")
                continue
            console = home.power_on(lambda console: "next try" in console)
            assert (
                f"the firmware is larger than the slot's {factory.FORMER_SLOT_BYTES} bytes [image_too_big]" in console
            )
            assert home.twin().slot_bytes("ota_0", 8192) == before
