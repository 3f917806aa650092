"""The console in a real browser: a vendor's whole way, on a desk and on a phone, and what a screen reader finds."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from sqlalchemy import update

from host_tests.desk.server.images import app
from host_tests.desk.server.rig import NEXT, Field, publish
from tools.server.database import Database
from tools.server.fleet import count
from tools.server.model import Reading, Thing, now_s
from tools.server.settings import FILE

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 320, "height": 640}
PAGES = ("", "things", "things/{thing}", "versions", "rollouts", "rollouts/new?version={next}", "events")


@pytest.fixture
def field(fields, tmp_path):
    """A field whose thing S1 has a week of temperatures and runs version 1; version 2 is published."""
    with fields.open(tmp_path) as made:
        made.devices = [made.device(serial) for serial in ("S1", "S2", "S3")]
        first = made.devices[0]
        first.call("PUT", f"/versions/{made.version['id']}.json")
        first.call("PUT", ".json", content='{"name": "Kitchen window"}')
        first.write("20.25")
        for device in made.devices[:2]:  # the first one runs what it should: its failure is past
            device.write(json.dumps({"phase": "given up", "versionId": made.version["id"], "attempt": 3}), "status")
        made.next = publish(made.server, made.template, tmp_path, NEXT)
        database = Database(f"sqlite:///{tmp_path / 'data' / FILE}")
        with database.writing() as session:
            for hours in range(24):
                value = {"thing_id": first.thing_id, "property_id": "temperature", "slot": 1000 + hours}
                session.add(Reading(at=now_s() - (24 - hours) * 3600, value_json=str(20 + hours % 5), **value))
            session.execute(update(Thing).where(Thing.serial == "S3").values(last_seen_at=now_s() - 7 * 86_400))
            count(session.connection(), now_s())
        database.close()
        yield made


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(request, browser, field):
    """A page of a browser that has logged in; it must not complain about anything."""
    credentials = {"username": "vendor", "password": field.server.password}
    context = browser.new_context(http_credentials=credentials, viewport=request.param, base_url=field.server.url)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert [each for each in complaints if "status of 400" not in each] == []


def assert_no_sideways_scrolling(page: Page) -> None:
    """The page is as wide as the window."""
    width, inner = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= inner, f"{page.url} is {width} px wide in a window of {inner}"


def addresses(field: Field) -> list[str]:
    """All pages that only show something."""
    names = {"thing": field.devices[0].thing_id, "next": field.next["id"]}
    return ["/console/" + path.format(**names) for path in PAGES]


def test_nobody_gets_in_without_the_password(browser, field):
    context = browser.new_context(base_url=field.server.url)
    for path in addresses(field):
        answer = context.request.get(path)
        assert (answer.status, answer.headers["www-authenticate"][:5]) == (401, "Basic")
        assert "S1" not in answer.text()
    context.close()


def test_vendor_goes_the_whole_way(page, field, tmp_path):
    page.goto("/")
    expect(page.get_by_role("heading", name="Fleet")).to_be_visible()
    expect(page.locator("dl.figures.big")).to_contain_text("3")

    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Things").click()
    page.get_by_label("begins with").fill("Kitchen")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="S1").click()
    expect(page.get_by_role("heading", name="S1")).to_be_visible()
    expect(page.get_by_role("img", name="temperature from")).to_be_visible()
    expect(page.get_by_text("given up, attempt 3")).to_be_visible()

    page.get_by_role("link", name="Versions").click()
    firmware = tmp_path / "new.bin"
    firmware.write_bytes(app(150_000, seed=3))
    page.get_by_label("App image").set_input_files(firmware)
    page.get_by_label("What is new").fill("sleeps <b>longer</b>")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("heading", name="Roll out version 3")).to_be_visible()
    expect(page.get_by_text("sleeps <b>longer</b>")).to_be_visible()

    page.get_by_label("Canaries").fill("S1")
    page.get_by_label("Stages").fill("0%:1m, 100%:1h")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_contain_text("silent")
    page.get_by_label("Stages").fill("0%:1h, 100%:1h")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Roll out version 3?")).to_be_visible()
    assert field.server.vendor.rollouts() == []  # nothing happens before it is confirmed
    page.get_by_role("button", name="Roll out version 3").click()
    expect(page.get_by_role("heading", name="Rollout of version 3 running")).to_be_visible()
    assert [device.poll().json()["name"] for device in field.devices] == ["3", "1", "1"]

    page.get_by_label("Reason").fill("it is Friday")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("heading", name="Rollout of version 3 paused")).to_be_visible()
    expect(page.locator("p.problem")).to_have_text("it is Friday")
    page.reload()  # sends nothing again
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", name="Rollout of version 3 running")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Cancel the rollout").click()
    expect(page.get_by_role("heading", name="Rollout of version 3 cancelled")).to_be_visible()
    assert field.devices[0].poll().json()["name"] == "1"
    kinds = [event["kind"] for event in field.server.vendor.events(limit=4)]
    assert kinds == ["rollout cancelled", "rollout resumed", "rollout paused", "rollout started"]


def test_thing_is_pinned_and_let_go(page, field):
    page.goto(f"/console/things/{field.devices[1].thing_id}")
    page.get_by_label("This thing runs").select_option("version 2, whatever comes")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("version 2 (pinned)")).to_be_visible()
    page.get_by_label("This thing runs").select_option("what its template says")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("dl.facts")).not_to_contain_text("pinned")


def test_wrong_file_is_explained(page, field, tmp_path):
    page.goto("/console/versions")
    wrong = tmp_path / "README.md"
    wrong.write_text("# no firmware\n" * 100)
    page.get_by_label("App image").set_input_files(wrong)
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("alert")).to_contain_text("no firmware for a device")
    assert len(field.server.vendor.versions(field.template["id"])) == 2


def test_failing_and_silent_things_are_found(page, field):
    page.goto("/console/")
    page.get_by_role("definition").nth(1).get_by_role("link").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("S2")
    page.goto("/console/things?state=silent")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("S3")


def test_no_page_scrolls_sideways(page, field):
    field.server.vendor.start_rollout(field.template["id"], field.next["id"], canaries=["S1"])
    rollout = field.server.vendor.rollouts()[0]["id"]
    for address in [*addresses(field), f"/console/rollouts/{rollout}", f"/console/rollouts/{rollout}/cancel"]:
        page.goto(address)
        expect(page.locator("h1")).to_be_visible()
        assert_no_sideways_scrolling(page)


def test_longest_names_break_no_page(page, field):
    long = "W" * 200
    field.devices[0].call("PUT", ".json", content=json.dumps({"name": long, "description": "W" * 2000}))
    for path in ("/console/things", f"/console/things/{field.devices[0].thing_id}"):
        page.goto(path)
        assert_no_sideways_scrolling(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_are_for_everybody(browser, field, scheme, size):
    field.server.vendor.start_rollout(field.template["id"], field.next["id"], canaries=["S1"])
    rollout = field.server.vendor.rollouts()[0]["id"]
    credentials = {"username": "vendor", "password": field.server.password}
    context = browser.new_context(
        http_credentials=credentials, base_url=field.server.url, color_scheme=scheme, viewport=size
    )
    page = context.new_page()
    check = f"/console/rollouts/check?version={field.next['id']}&stages=1%25:2h,100%25:2h&pause_above=5&count_min=9"
    more = [f"/console/rollouts/{rollout}", f"/console/rollouts/{rollout}/cancel", check + "&silent_after=1h"]
    for address in [*addresses(field), *more, "/console/things/nothing"]:
        page.goto(address)
        found = Axe().run(page).response["violations"]
        told = [(each["id"], [node["html"] for node in each["nodes"][:2]]) for each in found]
        assert told == [], address
    context.close()


def test_page_of_all_calls_needs_nobody_else(page, field):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/docs")
    expect(page.get_by_text("/v1/things/activate/{serial}.json")).to_be_visible()
    page.locator("#operations-device-activate_v1_things_activate__serial__json_put").click()
    expect(page.get_by_text("X-DeviceSecret")).to_be_visible()
    assert len(asked) >= 4 and all(url.startswith((field.server.url + "/", "data:")) for url in asked), asked
    policy = page.request.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy and "http" not in policy
