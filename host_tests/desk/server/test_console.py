"""The console against who would misuse it: other sites' forms, names that are markup, odd addresses and uploads."""

import io
import re

import httpx
import pytest

from host_tests.desk.server.images import app
from host_tests.desk.server.rig import NEXT, publish
from tools.server.firmware import SIZE_MAX_BYTES

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7*7 }}"


@pytest.fixture(params=["sqlite", "postgresql"])
def field(request, fields, tmp_path):
    """A field on either database, with a version 2 and a console to it."""
    with fields.open(tmp_path, request.param) as made:
        server = made.server
        made.next = publish(server, made.template, tmp_path, NEXT)
        login = ("vendor", server.password)
        # It is not https: reading the certificates would take longer than all the rest.
        with httpx.Client(base_url=server.url, auth=login, trust_env=False, verify=False, timeout=30) as client:
            made.console = client
            yield made


def token(field, path: str = "/console/versions") -> str:
    """What the forms of a page have to send back."""
    return re.search('name="token" value="([0-9a-f]{64})"', field.console.get(path).text)[1]


def ours(field) -> dict[str, str]:
    """What a browser says about a form of our own page."""
    return {"Origin": str(field.console.base_url).rstrip("/")}


def plan(field, **more) -> dict[str, str]:
    """The fields of the form that starts a rollout of version 2."""
    chosen = {"template": field.template["id"], "version": field.next["id"], "canaries": "", "stages": "100%:1h"}
    return chosen | {"pause_above": "5", "count_min": "10", "silent_after": "1h", "token": token(field)} | more


def start(field, **more) -> str:
    """Start a rollout; its address."""
    answer = field.console.post("/console/rollouts", data=plan(field, **more), headers=ours(field))
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_form_of_another_site_does_nothing(field, headers):
    sent = plan(field)
    answer = field.console.post("/console/rollouts", data=sent, headers=headers)
    assert answer.status_code == 403
    assert "was not sent by a page of this server" in answer.text
    assert field.server.vendor.rollouts() == []


def test_own_origin_does_not_help_who_comes_from_elsewhere(field):
    headers = ours(field) | {"Sec-Fetch-Site": "cross-site"}
    assert field.console.post("/console/rollouts", data=plan(field), headers=headers).status_code == 403


@pytest.mark.parametrize("bad", ["", "0" * 64, "ä", "another vendor's"])
def test_form_without_the_pages_token_does_nothing(field, bad):
    if bad == "another vendor's":
        password = field.server.vendor.create_vendor("bea")["password"]
        page = httpx.get(f"{field.server.url}/console/versions", auth=("bea", password), trust_env=False)
        bad = re.search('name="token" value="([0-9a-f]{64})"', page.text)[1]
    for path in ("/console/rollouts", "/console/versions", f"/console/things/{'0' * 32}/pin"):
        answer = field.console.post(path, data=plan(field, token=bad), headers=ours(field))
        assert answer.status_code == 403
    assert field.server.vendor.rollouts() == []


def test_token_ends_with_the_password(field):
    sent = plan(field)
    password = field.server.vendor.renew_password("vendor")["password"]
    answer = httpx.post(
        f"{field.server.url}/console/rollouts",
        data=sent,
        headers=ours(field),
        auth=("vendor", password),
        trust_env=False,
    )
    assert answer.status_code == 403


def test_form_that_a_page_has_sent_starts_a_rollout_once(field):
    sent = plan(field)
    for status in (303, 409):
        assert field.console.post("/console/rollouts", data=sent, headers=ours(field)).status_code == status
    headers = {"Sec-Fetch-Site": "same-origin"}
    address = f"/console/rollouts/{field.server.vendor.rollouts()[0]['id']}"
    answer = field.console.post(f"{address}/pause", data={"token": token(field)}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, address)


def test_device_key_opens_no_page(field):
    device = field.device()
    headers = {"X-ApiKey": device.api_key}
    for path in ("/console/", "/console/things", f"/console/things/{device.thing_id}", "/console/versions"):
        assert httpx.get(field.server.url + path, headers=headers, trust_env=False).status_code == 401


def test_names_that_are_markup_stay_text(field, tmp_path):
    vendor = field.server.vendor
    template = vendor.create_template(MARKUP, MARKUP)
    product = vendor.create_product(MARKUP, template["id"])
    vendor.add_serials(product["id"], ["X1"])
    device = field.device("X1")
    device.call("PUT", ".json", json={"name": MARKUP, "description": MARKUP})
    device.write(f'"{MARKUP[:20]}"', "note")
    report = {"phase": MARKUP, "versionId": MARKUP, "attempt": MARKUP, "code": MARKUP}
    device.call("PUT", "/properties/status/value.json", json=report)
    device.call("PUT", "/properties/status/value.json", json=[MARKUP])
    files = {"firmware": (MARKUP, io.BytesIO(app(2000)))}
    sent = {"template": template["id"], "description": MARKUP, "token": token(field)}
    published = field.console.post("/console/versions", data=sent, files=files, headers=ours(field))
    assert published.status_code == 303
    version = vendor.versions(template["id"])[0]
    rollout = vendor.start_rollout(template["id"], version["id"], canaries=["X1"])
    vendor.pause_rollout(rollout["id"], MARKUP)
    pages = ["", "things", f"things/{device.thing_id}", "versions", "rollouts", f"rollouts/{rollout['id']}", "events"]
    pages += [f"rollouts/{rollout['id']}/cancel", f"rollouts/new?version={version['id']}"]
    for path in pages:
        answer = field.console.get(f"/console/{path}")
        assert answer.status_code == 200, path
        assert "alert(1)" not in answer.text.replace("&gt;alert(1)&lt;", "").replace("onerror=alert(1)&gt;", "")
        assert "<script" not in answer.text and "<img" not in answer.text, path
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for asked in ({"search": MARKUP}, {"after": MARKUP[:60]}, {"version": MARKUP}, {"state": MARKUP}):
        answer = field.console.get("/console/things", params=asked)
        assert answer.status_code == 200 and "<script" not in answer.text


@pytest.mark.parametrize("odd", ["%00", "'%20OR%201=1--", "..%2f..%2fetc%2fpasswd", "x" * 3000, "%f0%9f%8c%a1"])
def test_tricks_in_addresses_are_pages_that_say_no(field, odd):
    for path in (f"things/{odd}", f"rollouts/{odd}", f"rollouts/{odd}/cancel", f"rollouts/new?version={odd}"):
        answer = field.console.get(f"/console/{path}")
        assert answer.status_code in (404, 400), path
    for path in (f"things?search={odd}", f"things?version={odd}", f"things?after={odd}", f"events?subject={odd}"):
        assert field.console.get(f"/console/{path}").status_code in (200, 400), path
    answer = field.console.post(f"/console/rollouts/{odd}/pause", data={"token": token(field)}, headers=ours(field))
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"stages": "nonsense"}, "is no stage"),
        ({"stages": "50%:1d"}, "to 100"),
        ({"stages": "100%:1s"}, "before a thing counts as silent"),
        ({"pause_above": "101"}, "is no percentage"),
        ({"pause_above": "nan"}, "is no percentage"),
        ({"count_min": "-1"}, "is no number of things"),
        ({"silent_after": "1 fortnight"}, "is no length of time"),
        ({"canaries": "<b>"}, "canaries"),
    ],
)
def test_plan_that_cannot_be_meant_comes_back_with_the_reason(field, given, told):
    asked = plan(field, **given)
    asked.pop("token")
    answer = field.console.get("/console/rollouts/check", params=asked)
    assert answer.status_code == 400
    assert told in answer.text
    assert field.console.post("/console/rollouts", data=plan(field, **given), headers=ours(field)).status_code == 400
    assert field.server.vendor.rollouts() == []


def test_canary_that_is_no_thing_is_named(field):
    answer = field.console.post("/console/rollouts", data=plan(field, canaries="S4"), headers=ours(field))
    assert answer.status_code == 400 and "S4" in answer.text


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"", 400, "empty"),
        (b"# a README", 400, "no firmware for a device"),
        (app(2000)[:-1], 400, "no firmware for a device"),
        (bytes(SIZE_MAX_BYTES + 100_000), 413, "bigger than"),
    ],
)
def test_upload_that_is_no_firmware_leaves_nothing_behind(field, tmp_path, content, status, told):
    before = sorted((tmp_path / "data" / "firmware").iterdir())
    sent = {"template": field.template["id"], "token": token(field)}
    files = {"firmware": ("x.bin", io.BytesIO(content))}
    answer = field.console.post("/console/versions", data=sent, files=files, headers=ours(field))
    assert answer.status_code == status
    assert told in answer.text
    assert sorted((tmp_path / "data" / "firmware").iterdir()) == before


def test_form_that_is_none_is_refused(field):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "application/json", "text/plain"):
        headers = ours(field) | {"Content-Type": kind}
        answer = field.console.post("/console/versions", content=b"\xff--x\r\nnonsense", headers=headers)
        assert answer.status_code in (400, 403), kind


def test_list_is_paged_without_losing_any(field):
    serials = [f"P{number:03}" for number in range(120)]
    field.server.vendor.add_serials(field.product["id"], serials)
    for serial in serials:
        field.device(serial)
    path, found = "/console/things?search=P", []
    while path:
        text = field.console.get(path).text
        found += re.findall(">(P[0-9]{3})</a>", text)
        following = re.search('href="([^"]+)">Next page', text)
        path = following and following[1].replace("&amp;", "&")
    assert found == serials
