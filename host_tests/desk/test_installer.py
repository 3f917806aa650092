"""make installer: a page that flashes one board, and the pictures and pins beside it."""

import contextlib
import functools
import http.server
import json
import re
import stat
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from host_tests.desk.server import postgres
from tools.factory.__main__ import main as factory
from tools.owner import installer, led_picture
from tools.twin.paths import ROOT

CHROMIUM = Path("/usr/bin/chromium")
WEB_TOOLS = installer.NPM / "node_modules" / "esp-web-tools" / "dist" / "web"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A factory image without a network."""
    path = tmp_path_factory.mktemp("image") / "first.bin"
    made = factory(["factory", "--serial", "THERM1", "--server", "http://192.0.2.1:8080", "--out", str(path)])
    assert made == 0
    return path


@pytest.fixture
def web_tools(tmp_path):
    """A folder that takes ESP Web Tools' place."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "install-button.js").write_text("export {};\n")
    return folder


def test_page_flashes_the_whole_image_and_asks_for_the_wifi_then(image, web_tools, tmp_path):
    out = tmp_path / "page"
    installer.make(image, out, lambda: web_tools)
    manifest = json.loads((out / "manifest.json").read_text())
    (build,) = manifest["builds"]
    (part,) = build["parts"]
    assert manifest["name"] == "Thermometer THERM1" and build["chipFamily"] == "ESP32" and part["offset"] == 0
    assert (out / part["path"]).read_bytes() == image.read_bytes()
    assert stat.S_IMODE((out / part["path"]).stat().st_mode) == 0o600, "others can read the board's secrets"
    assert manifest["new_install_improv_wait_time"] >= 10
    assert (out / "esp-web-tools" / "install-button.js").exists()
    password = json.loads(re.search(rb'\{\n "server".*?\n\}', image.read_bytes(), re.DOTALL)[0])["setup_password"]
    assert password not in (out / "index.html").read_text() + (out / "manifest.json").read_text()


def test_what_is_no_factory_image_is_one_sentence_and_fetches_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(installer, "web_tools", lambda: pytest.fail("npm was asked"))
    other = tmp_path / "other.bin"
    other.write_bytes(b"\xe9" * 5000)
    assert installer.main(["--image", str(other), "--out", str(tmp_path / "page")]) == 1
    said = capsys.readouterr().err
    assert f"{other} is no image of make factory" in said and said.count("\n") == 1
    for wrong in (["--image", "", "--out", "x"], ["--image", str(other), "--out", str(other)], ["--out", "x"]):
        with pytest.raises(SystemExit) as ended:
            installer.main(wrong)
        assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_without_npm_it_says_what_to_install(tmp_path, capsys, image, monkeypatch):
    monkeypatch.setattr(installer, "NPM", tmp_path / "npm")
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)
    assert installer.main(["--image", str(image), "--out", str(tmp_path / "page")]) == 1
    assert "npm is not installed" in capsys.readouterr().err


@pytest.mark.skipif(not WEB_TOOLS.exists(), reason="make installer brings ESP Web Tools from npm")
def test_page_works_in_a_browser(image, tmp_path):
    postgres.require("chromium", CHROMIUM.exists())
    out = tmp_path / "page"
    installer.make(image, out, lambda: WEB_TOOLS)
    complaints = []
    with served(out) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        expect(page.get_by_role("heading", name="Thermometer THERM1")).to_be_visible()
        page.wait_for_function("customElements.get('esp-web-install-button') !== undefined")
        expect(page.locator("esp-web-install-button button")).to_be_visible()
        browser.close()
    assert complaints == []


@contextlib.contextmanager
def served(folder):
    """The folder at a port of this computer."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_packages_of_npm_are_pinned_by_their_hashes():
    lock = json.loads((ROOT / "tools" / "owner" / "npm" / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) > 2 and all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert not any("resolved" in each for each in packages.values())


def test_picture_of_the_led_shows_what_the_board_does():
    assert led_picture.draw() == (ROOT / "docs" / "led.svg").read_text(), (
        "make figures, or python -m tools.owner.led_picture"
    )
