"""The customer's scenario end to end: the agent on its runtime, real firmware images, the real server, real sockets."""

import json

import pytest

from tools import firmware, server
from tools.twin.__main__ import is_done, make_factory_fresh
from tools.twin.device import Twin

SERIAL = "THERM00000000000001"

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]


@pytest.fixture(scope="session")
def image_2() -> bytes:
    return firmware.app_image("1.28.0")


@pytest.fixture
def world(tmp_path, image_2, request):
    """A server with versions 1 (published, not the target) and 2 (the target), and a factory-fresh thermometer."""
    form = getattr(request, "param", "auto")
    with server.running(tmp_path / "server", firmware_form=form) as running:
        vendor = running.vendor
        template = vendor.create_template("Thermometer")
        vendor.add_serials(vendor.create_product("Thermometer", template["id"])["id"], [SERIAL])
        versions = {}
        for name, version in (("1", "1.27.0"), ("2", "1.28.0")):
            path = tmp_path / f"app-{version}.bin"
            path.write_bytes(firmware.app_image(version))
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
    twin = Twin(flash, "cpython")
    state = twin.state()
    assert state["versionId"] == version_id
    assert twin.slot_bytes(state["slot"], len(image)) == image
    assert twin.files()["/serial.txt"].decode().strip() == SERIAL


@pytest.mark.vm
@pytest.mark.parametrize("world", ["string", "object", "raw"], indirect=True)
def test_every_body_form_on_an_esp32s_heap(world, image_2):
    running, flash, versions, _ = world
    power_on(flash, "vm")
    check_in_step(running, flash, versions["2"], image_2)


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_from_the_factory_to_confirmed_and_then_nothing_is_left_to_do(world, image_2, runtime):
    running, flash, versions, _ = world
    console = power_on(flash, runtime)
    steps = ["[1/5] serial number THERM00000000000001", "[2/5] activated", "[2/5] renamed to ThermometerDevice"]
    steps += ["[3/5] target version 2", "[4/5] firmware 2 into ota_1 |", "on trial", "[5/5] version 2 confirmed"]
    places = [console.index(step) for step in steps]
    assert places == sorted(places), console
    check_in_step(running, flash, versions["2"], image_2)
    written = flash.read_bytes()
    again = power_on(flash, runtime)
    assert "[2/5]" not in again and "[4/5]" not in again and "[5/5]" not in again
    assert flash.read_bytes() == written, "a boot that is in step has written to flash"


def test_going_back_to_version_1_is_an_update_like_any_other(world):
    running, flash, versions, template = world
    power_on(flash, "cpython")
    running.vendor.set_target(template["id"], versions["1"])
    power_on(flash, "cpython")
    check_in_step(running, flash, versions["1"], firmware.app_image("1.27.0"))


def test_second_activation_elsewhere_is_met_with_one_activation(world):
    running, flash, _, _ = world
    power_on(flash, "cpython")
    import httpx

    thing_id = running.vendor.thing(SERIAL)["id"]
    stolen = httpx.put(f"{running.url}/v1/things/activate/{SERIAL}.json").json()
    assert stolen["thingId"] == thing_id
    console = power_on(flash, "cpython")
    assert console.count("[2/5] activated") == 1, console
    assert "[2/5] renamed" not in console and "[4/5]" not in console


def test_version_already_confirmed_at_the_server_is_taken_from_there(world):
    running, flash, versions, _ = world
    import httpx

    thing = httpx.put(f"{running.url}/v1/things/activate/{SERIAL}.json").json()
    confirm = f"{running.url}/v1/things/{thing['thingId']}/versions/{versions['2']}.json"
    httpx.put(confirm, headers={"X-ApiKey": thing["apiKey"]}).raise_for_status()
    console = power_on(flash, "cpython")
    assert "[4/5]" not in console
    assert Twin(flash, "cpython").state()["versionId"] == versions["2"]


def test_secrets_reach_no_console(world):
    _, flash, _, _ = world
    console = power_on(flash, "cpython")
    state = json.loads(Twin(flash, "cpython").files()["/state.json"])
    assert state["apiKey"] not in console
    assert "twin-password" not in console
