"""WiFi from power-on to the console, on both runtimes; what each case means is for host_tests/unit/test_wifi.py."""

import json

import pytest

from host_tests.device.test_bad_input import Script
from host_tests.fakes.console_line import SOURCE_FLASH_BYTES
from tools import agent, factory, firmware
from tools.twin.device import Twin
from tools.twin.paths import DEVICE

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]

SHORTER = ((b"_REASON_AFTER_MS = const(10000)", b"const(300)"), (b"_JOIN_TIMEOUT_MS = const(20000)", b"const(600)"))


def power_on(tmp_path, runtime, world, known, server="http://127.0.0.1:9", until=lambda console: " C," in console):
    """The console until the thermometer has measured. Nobody listens at the server's address unless one is named."""
    files = agent.deployed_files(agent.source_files(DEVICE))
    for old, new in SHORTER:
        path = next(path for path in files if path.endswith("/board/wifi.py"))
        assert old in files[path]
        files[path] = files[path].replace(old, old.partition(b"=")[0] + b"= " + new)
    settings = {"server": server, "wifi": known, "start_spread_s": 0, "report_interval_s": 1}
    files["/serial.txt"] = b"THERM00000000000001\n"
    files["/config.json"] = json.dumps(settings).encode()
    flash = tmp_path / "flash.bin"
    flash.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files, flash_bytes=SOURCE_FLASH_BYTES))
    twin = Twin(flash, runtime, {"wifi": world})
    result = twin.power_on(max_boots=1, timeout_s=30, until=until)
    assert result.reason == "until", result.console
    assert "s3cret" not in result.console
    return result.console


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize(
    "world, known, said",
    [
        ({}, [["home", "s3cret-1"]], ["WiFi: network home is not within reach", "[wifi_not_found]"]),
        ({"home": "x"}, [["home", "s3cret-1"]], ["WiFi: network home refuses the password", "[wifi_wrong_password]"]),
        (
            {"home": {"password": "s3cret-1", "address": False}},
            [["home", "s3cret-1"]],
            ["WiFi: network home lets the board in but gives it no address", "[wifi_no_address]"],
        ),
        (
            {"office": "x"},
            [["home", "s3cret-1"], ["office", "s3cret-2"]],
            ["WiFi: cannot join home (not found), office (wrong password) [no_wifi]"],
        ),
        ({"home": "x"}, ["s3cret-1"], ["/config.json: wifi has no value", "[bad_config]"]),
    ],
    ids=["not found", "wrong password", "no address", "several", "no network"],
)
def test_why_there_is_no_wifi_is_said_without_the_password(tmp_path, runtime, world, known, said):
    console = power_on(tmp_path, runtime, world, known)
    for part in said:
        assert part in console, console


@pytest.mark.vm
@pytest.mark.parametrize(
    "world, known",
    [
        ({"cafe": ""}, [["cafe", ""]]),
        ({"office": "s3cret-2"}, [["home", "s3cret-1"], ["office", "s3cret-2"]]),
        (
            {"home": {"password": "s3cret-1", "address": False}},
            [["home", "s3cret-1", ["10.0.0.9", "255.0.0.0", "10.0.0.1", "10.0.0.1"]]],
        ),
    ],
    ids=["open", "second network", "static address"],
)
def test_network_is_joined_and_the_server_asked(tmp_path, world, known):
    console = power_on(tmp_path, "vm", world, known)
    assert "[no_answer]" in console, console


@pytest.mark.vm
def test_network_lost_while_the_thermometer_runs_is_joined_again(tmp_path):
    world = {"home": {"password": "s3cret-1", "away": [5, 10]}}
    script = Script()
    script.answers["current"] = script.answers["target"]  # in step: the next round is an hour away
    try:
        console = power_on(
            tmp_path,
            "vm",
            world,
            [["home", "s3cret-1"]],
            script.url,
            until=lambda console: " C reported" in console.partition("not reported: WiFi: network home")[2],
        )
    finally:
        script.close()
    before, _, after = console.partition("not reported: WiFi: network home is not within reach")
    assert " C reported" in before and " C reported" in after, console
