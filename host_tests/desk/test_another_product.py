"""docs/another-product.md: the product that it builds is built and run here, from the very file."""

from pathlib import Path

import pytest

from host_tests.fakes.home import IMAGES, Home
from tools.twin.__main__ import make_app
from tools.twin.paths import VM

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "examples" / "relay"
RUNTIME = "vm" if VM.exists() else "cpython"


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path, RUNTIME, images={**IMAGES, "2": make_app(2, app=FOLDER)}) as home:
        yield home


def test_the_page_shows_the_file_that_is_run():
    assert (FOLDER / "relay.py").read_text() in (ROOT / "docs" / "another-product.md").read_text()


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
