"""Thieves of serial numbers: where the server has the hash of a board's device secret, only the board activates."""

import json

import httpx
import pytest

from host_tests.fakes.home import SERIAL, Home
from host_tests.fakes.server import RESET, Server, answer
from tools import factory, server
from tools.factory.__main__ import main
from tools.factory.personal import secret_sha256
from tools.firmware import combined_image
from tools.server.cli import main as server_main
from tools.twin.__main__ import WIFI, is_done
from tools.twin.device import Twin

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]
SECRET = "5e" * 16
ACTIVATED = {"thingId": "1" * 32, "apiKey": "2" * 32}


def activate(url: str, secret: str | None = None) -> int:
    """The status that somebody gets who is not the board."""
    headers = {} if secret is None else {"X-DeviceSecret": secret}
    path = f"{url}/v1/things/activate/{SERIAL}.json"
    return httpx.put(path, headers=headers, trust_env=False).status_code


def require_secret(home: Home, secret: str = SECRET) -> None:
    vendor = home.server.vendor
    vendor.set_secret(SERIAL, secret_sha256(secret))
    vendor.require_device_secret(vendor.products()[0]["id"], True)


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_thief_is_refused_and_the_board_goes_on_with_its_key(tmp_path, runtime):
    with Home(tmp_path, runtime, device_secret=SECRET) as home:
        require_secret(home)
        console = home.power_on()
        assert "[2/5] activated as thing" in console and "in step" in console
        key = home.twin().state()["apiKey"]
        for guess in (None, "", SECRET[:-1], SECRET.upper(), secret_sha256(SECRET)):
            assert activate(home.url, guess) == 403, guess
        again = home.power_on()
        assert "[2/5]" not in again and home.twin().state()["apiKey"] == key
        home.check_in_step("2", "ota_1")
        assert SECRET not in console + again and SECRET not in json.dumps(home.twin().state())


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize("secret", ["", "0" * 32])
def test_board_that_is_none_of_the_vendors_says_so_once_and_measures(tmp_path, runtime, secret):
    with Home(tmp_path, runtime, device_secret=secret) as home:
        require_secret(home)
        console = home.power_on(until=lambda console: "next try in" in console)
        assert "activate: the server does not let this board activate (403)" in console
        assert "[not_allowed]; the thermometer runs, next try in" in console
        assert home.server.vendor.things() == [] and (not secret or secret not in console)


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_secret_goes_to_the_servers_activation_and_nowhere_else(tmp_path, runtime):
    with Home(tmp_path, runtime) as home, Server() as own, Server() as other:
        moved = answer(b"", "307 Temporary Redirect", [f"Location: {other.url}/v1/things/activate/{SERIAL}.json"])
        own.play([moved], [answer(json.dumps(ACTIVATED).encode())], *[[RESET]] * 9)
        settings = {"server": own.url, "wifi": WIFI, "start_spread_s": 0, "device_secret": SECRET}
        home.change_files(config_json=json.dumps(settings).encode())
        console = home.power_on(until=lambda console: console.count("next try in") == 2)
        assert "[redirect]" in console and "[2/5] activated" in console and SECRET not in console
        assert other.connections == 0 and len(own.heard) > 2
        for request in own.heard:
            is_activation = request.startswith(b"PUT /v1/things/activate/")
            assert (f"\r\nX-DeviceSecret: {SECRET}\r\n".encode() in request) == is_activation, request
            assert is_activation or SECRET.encode() not in request


@pytest.mark.vm
@pytest.mark.parametrize("command", ["factory", "batch"])
def test_image_as_it_is_made_activates_at_a_server_that_requires_its_secret(tmp_path, monkeypatch, capsys, command):
    with server.running(tmp_path / "server") as running:
        vendor = running.vendor
        template = vendor.create_template("Thermometer")
        product = vendor.create_product("Kitchen", template["id"], requires_device_secret=True)
        monkeypatch.setenv(server.serving.PASSWORD_VARIABLE, running.password)
        monkeypatch.setenv("WIFI_PASSWORD", WIFI[0][1])
        words = [f"--server={running.url}", f"--firmware={combined_image('1.27.0')}", f"--wifi-ssid={WIFI[0][0]}"]
        if command == "batch":
            (tmp_path / "serials.csv").write_text(SERIAL)
            words += [f"--serials={tmp_path / 'serials.csv'}", "--product=Kitchen", f"--record={tmp_path / 'record'}"]
            image = tmp_path / "batch" / f"{SERIAL}.bin"
            words += [f"--out={tmp_path / 'batch'}"]
        else:
            image = tmp_path / "flash.bin"
            words += [f"--serial={SERIAL}", f"--out={image}", "--no-check"]
        assert main([command, *words, "--allow-localhost"]) == 0, capsys.readouterr()
        secret = json.loads(factory.read_files(image.read_bytes())["/config.json"])["device_secret"]
        if command == "factory":
            vendor.add_serials(product["id"], [SERIAL])
            assert server_main(["--server", running.url, "serial", "secrets", str(image)]) == 0
        assert vendor.serial(SERIAL)["hasSecret"] and activate(running.url) == 403
        result = Twin(image, "vm").power_on(until=lambda console: is_done(console) or "next try" in console)
        assert "[2/5] activated as thing" in result.console, result.console
        assert secret not in result.console + "".join(capsys.readouterr())
