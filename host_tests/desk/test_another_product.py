"""docs/another-product.md: the products that it builds are built and run here, from the very files."""

import json
import ssl
from pathlib import Path

import pytest
import trustme

from host_tests.fakes.home import IMAGES, Home
from host_tests.fakes.server import Server, answer
from tools.twin.__main__ import make_app
from tools.twin.paths import VM

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
RUNTIME = "vm" if VM.exists() else "cpython"


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path, RUNTIME, images={**IMAGES, "2": make_app(2, app=EXAMPLES / "relay")}) as home:
        yield home


@pytest.mark.parametrize("name", ["relay", "tariff"])
def test_the_page_shows_the_file_that_is_run(name):
    assert (EXAMPLES / name / f"{name}.py").read_text() in (ROOT / "docs" / "another-product.md").read_text()


def test_relay_takes_the_thermometers_place_and_switches_by_the_temperature(home):
    console = home.power_on(lambda console: "relay on: reported" in console)
    assert "[4/5] the new firmware has proven itself in ota_1" in console
    assert home.thing()["currentVersion"]["id"] == home.versions["2"]
    assert home.thing()["properties"]["relay"] is True
    home.world = {"ds18x20": 24.5}
    home.power_on(lambda console: "24.5 C, relay off: reported" in console)
    assert home.thing()["properties"]["relay"] is False


def test_relay_without_a_reading_is_off(home):
    home.power_on(lambda console: "relay on: reported" in console)
    home.world = {"ds18x20": None}
    home.power_on(lambda console: "None C, relay off: reported" in console)
    assert home.thing()["properties"]["relay"] is False


def price(cents: object) -> bytes:
    return answer(json.dumps({"cents": cents}).encode())


def tariff_home(tmp_path, runtime: str, url: str, **config) -> Home:
    """A home whose version 2 is docs/examples/tariff, which asks the server at `url`."""
    folder = tmp_path / "tariff"
    folder.mkdir()
    source = (EXAMPLES / "tariff" / "tariff.py").read_text()
    assert "http://127.0.0.1:8090" in source
    (folder / "tariff.py").write_text(source.replace("http://127.0.0.1:8090", url))
    return Home(tmp_path, runtime, images={**IMAGES, "2": make_app(2, app=folder)}, **config)


def test_product_asks_a_server_of_its_own_and_not_with_urequests_of_another(tmp_path):
    with Server([price(12.5)]) as server, tariff_home(tmp_path, RUNTIME, server.url) as home:
        # What people copied onto boards when MicroPython had none; ours comes first of the path.
        home.change_files(urequests_py=b"raise NotImplementedError('a copied urequests')\n")
        console = home.power_on(lambda console: "12.5 cents: reported" in console)
        assert "[4/5] the new firmware has proven itself in ota_1" in console
        assert home.thing()["properties"]["price"] == 12.5
        assert server.heard[0].startswith(b"GET /price.json HTTP/1.1\r\n") and b"ApiKey" not in b"".join(server.heard)
        server.play([answer(b"", "302 Found", [f"Location: {server.url}/price.json"])])
        console = home.power_on(lambda console: "not reported" in console)
        assert "redirect" in console and len(server.heard) == 1


def test_product_trusts_whom_the_device_trusts(tmp_path):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    with Server([price(7)], tls=context) as server:
        url = f"https://localhost:{server.port}"
        with tariff_home(tmp_path, RUNTIME, url, ca="/ca.pem") as home:
            home.change_files(ca_pem=ca.cert_pem.bytes())
            home.power_on(lambda console: "7.0 cents: reported" in console)
            server.play([price(8)])
            home.change_files(ca_pem=trustme.CA().cert_pem.bytes())
            console = home.power_on(lambda console: "not reported" in console)
            assert "unknown_ca" in console and server.heard == []
