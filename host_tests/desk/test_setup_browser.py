"""The setup's page in a real browser, as wide as a small phone, with JavaScript and without: from a fresh board to one
in step. With SETUP_PICTURES=docs it also makes the pictures of docs/setup.md (`make setup-pictures`)."""

import io
import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from host_tests.fakes.owner import LABEL_PASSWORD, PASSWORD, NewHome

pytestmark = pytest.mark.vm
PHONE = {"width": 320, "height": 640}
WRONG = "gu3ssed-wrongly"
PLACES = {
    "Sunflower": {"password": PASSWORD, "signal": -52},
    "Sunflower guests": {"password": "", "signal": -55},
    "Lange Straße 12, 2. Stock": {"password": "x" * 8, "signal": -88},
}
HOSTILE = '<script>alert(1)</script> & "co" 🏠'


@pytest.fixture
def home(tmp_path):
    """A fresh thermometer in the middle of some networks."""
    with NewHome(tmp_path, "vm") as made:
        made.set_target("1")
        made.world["wifi"] = dict(PLACES)
        yield made


class Pictures:
    """Keeps what the page looked like at each step."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    def take(self, page: Page) -> None:
        """Keep how the page looks now."""
        self._frames.append(page.screenshot(full_page=True))

    def save(self) -> None:
        """Write them side by side, if they are wanted."""
        folder = os.environ.get("SETUP_PICTURES")
        if not folder:
            return
        frames = [Image.open(io.BytesIO(frame)) for frame in self._frames]
        height = max(frame.height for frame in frames)
        together = Image.new("RGB", (340 * len(frames) - 20, height), "#d5dae0")
        for number, frame in enumerate(frames):
            together.paste(frame, (340 * number, 0))
        few_colours = together.quantize(128, dither=Image.Dither.NONE)
        few_colours.save(Path(folder) / "setup-phone.png", optimize=True)


def check(page: Page, with_axe: bool) -> None:
    """As wide as the phone, and without what people with a screen reader or weak eyes cannot use."""
    width, inner = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= inner, f"{width} px wide on a phone of {inner}"
    if with_axe:
        found = Axe().run(page).response["violations"]
        assert not found, [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def shows(page: Page, text: str) -> None:
    """Wait until the page says this of how it went; without JavaScript it reloads by itself."""
    expect(page.get_by_role("alert").or_(page.get_by_role("status"))).to_contain_text(text, timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_owner_sets_up_a_thermometer_with_a_small_phone_a_wrong_password_first(home, browser, scripts, scheme):
    if scheme == "dark":
        home.world["wifi"][HOSTILE] = {"password": "x" * 8, "signal": -74}
    context = browser.new_context(
        viewport=PHONE, java_script_enabled=scripts, color_scheme=scheme, base_url=home.owner.url
    )
    page = context.new_page()
    complaints: list[str] = []
    seen: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: seen.append(request.url))
    page.on("response", lambda response: seen.append(str(response.headers)))
    pictures = Pictures()
    in_step = lambda console: "in step with version" in console  # noqa: E731
    with home.powered(until=in_step, timeout_s=90) as board:
        home.owner.page()
        page.goto("/connecttest.txt")  # as the system does, which then shows what it finds
        expect(page.get_by_role("heading", name="Thermometer-000001")).to_be_visible()
        expect(page.get_by_role("radio")).to_have_count(len(home.world["wifi"]) + 1)
        if scheme == "dark":
            expect(page.get_by_text(HOSTILE)).to_be_visible()
        check(page, scripts)
        pictures.take(page)

        page.get_by_role("radio", name="Sunflower strong, locked").check()
        password = page.get_by_label("Its password")
        password.fill(WRONG)
        masked = "getComputedStyle(document.getElementById('w')).webkitTextSecurity"
        assert page.evaluate(masked) == "disc"
        page.get_by_label("show it").check()
        assert page.evaluate(masked) == "none"
        page.get_by_label("A name for this thermometer").fill("Kitchen")
        page.get_by_role("button", name="Join").click()
        shows(page, "Joining Sunflower")
        check(page, scripts)
        pictures.take(page)
        shows(page, "Sunflower refuses this password")
        check(page, scripts)
        assert WRONG not in page.content() and page.get_by_label("Its password").input_value() == ""
        expect(page.get_by_role("radio", name="Sunflower strong, locked")).to_be_checked()
        pictures.take(page)

        # By keyboard alone, from the network that is chosen already
        page.get_by_role("radio", name="Sunflower strong, locked").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        password.focus()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        shows(page, "Sunflower is joined, and the server answers")
        check(page, scripts)
        pictures.take(page)
        board.settle()
    assert home.thing()["name"] == "Kitchen"
    assert complaints == []
    everything = board.console + home.owner.heard + "".join(seen)
    for secret in (WRONG, PASSWORD, LABEL_PASSWORD):
        assert secret not in everything
    assert all(url.startswith((home.owner.url, "{")) for url in seen), "the page asks elsewhere"
    context.close()
    if scripts and scheme == "light":
        pictures.save()
