"""Thieves, guessers and floods against the server, on both databases."""

import base64
import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from host_tests.desk.server.images import app, bundle_of, bundle_without
from host_tests.desk.server.rig import FIRMWARE, HTTP, Device, assert_error, publish, wait_for
from tools import firmware
from tools.server import VendorError
from tools.server.model import sha256_hex

SECRET = "5e" * 16
PLAIN_MICROPYTHON = firmware.app_image("1.28.0")


@pytest.fixture(params=["sqlite", "postgresql"])
def field(request, fields, tmp_path):
    """A field of its own on either database, with few activations allowed."""
    with fields.open(tmp_path, request.param, serial_burst=5, again_burst=30, properties_max=4) as made:
        yield made


@pytest.fixture(scope="module")
def shared(fields, tmp_path_factory):
    """One field for what has nothing to do with the database."""
    with fields.open(tmp_path_factory.mktemp("shared")) as made:
        yield made


def test_thief_without_the_secret_gets_nothing_and_the_board_keeps_its_key(field):
    vendor = field.server.vendor
    vendor.set_secret("S1", sha256_hex(SECRET))
    device = Device(field.server.url, "S1")
    assert device.activate(SECRET).status_code == 200
    thief = Device(field.server.url, "S1")
    for guess in (None, "", "5e", SECRET.upper(), SECRET + "0", "\xff"):
        headers = {} if guess is None else {"X-DeviceSecret": guess.encode("latin-1")}
        answer = HTTP.put(f"{field.server.url}/v1/things/activate/S1.json", headers=headers)
        assert answer.status_code in (403, 429), guess
    assert thief.api_key == "" and device.poll().status_code == 200
    assert vendor.serial("S1") == {
        "serialNumber": "S1",
        "productId": field.product["id"],
        "blocked": False,
        "hasSecret": True,
    }


def test_thief_with_all_his_guesses_does_not_keep_the_board_out(field):
    field.server.vendor.set_secret("S1", sha256_hex(SECRET))
    for _ in range(12):  # more than the serial number's activations
        assert Device(field.server.url, "S1").activate("guess").status_code == 403
    assert Device(field.server.url, "S1").activate(SECRET).status_code == 200


def test_product_can_require_a_secret_and_boards_without_one_work_until_it_does(field):
    vendor = field.server.vendor
    device = field.device("S2")
    vendor.require_device_secret(field.product["id"], True)
    assert_error(Device(field.server.url, "S2").activate(SECRET), 403, "GK-000-0002")
    assert device.poll().status_code == 200
    vendor.add_serials(field.product["id"], ["N1"], {"N1": sha256_hex(SECRET)})
    assert_error(Device(field.server.url, "N1").activate(), 403, "GK-000-0002")
    assert Device(field.server.url, "N1").activate(SECRET).status_code == 200
    vendor.require_device_secret(field.product["id"], False)
    assert Device(field.server.url, "S2").activate().status_code == 200


def test_second_activation_is_an_event_with_its_address(field):
    field.device("S1")
    assert field.server.vendor.events(subject="S1") == []
    field.device("S1")
    (event,) = field.server.vendor.events(subject="S1")
    assert (event["kind"], event["actor"], event["address"]) == ("key dropped", "thing", "127.0.0.1")


def test_serial_number_can_be_activated_only_so_often(field):
    device = Device(field.server.url, "S1")
    statuses = [device.activate().status_code for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    refused = device.activate()
    assert_error(refused, 429, "GK-000-0003")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert device.poll().status_code == 200  # the key of the last success still is the key
    assert Device(field.server.url, "S2").activate().status_code == 200


def test_list_of_serial_numbers_is_of_little_use(field):
    """Guessed serial numbers, and those of boards that are in use."""
    statuses = [Device(field.server.url, f"GUESS{number}").activate().status_code for number in range(60)]
    assert set(statuses) == {404, 429} and statuses.count(404) <= 40
    # Boards that are new go on being activated from behind the same address.
    assert Device(field.server.url, "S3").activate().status_code == 200


def test_stolen_board_is_locked_out_at_once(field):
    vendor = field.server.vendor
    device = field.device("S1")
    vendor.block_serial("S1")
    assert_error(device.poll(), 401, "GK-000-0001")
    assert_error(device.activate(), 403, "GK-000-0002")
    vendor.block_serial("S1", is_blocked=False)
    assert device.activate().status_code == 200 and device.poll().status_code == 200
    kinds = [event["kind"] for event in vendor.events(subject="S1")]
    assert kinds == ["serial number let in again", "serial number blocked"]


def test_only_a_serial_number_without_a_thing_is_removed(field):
    vendor = field.server.vendor
    field.device("S1")
    with pytest.raises(VendorError, match="has been activated") as refused:
        vendor.remove_serial("S1")
    assert refused.value.status == 409
    vendor.remove_serial("S2")
    assert_error(Device(field.server.url, "S2").activate(), 404, "GK-000-0004")
    vendor.add_serials(field.product["id"], ["S2"])


def test_serial_numbers_that_people_take_for_the_same_are(field):
    vendor = field.server.vendor
    for serials in (["s1"], ["New", "NEW"]):
        with pytest.raises(VendorError, match="Nothing was added"):
            vendor.add_serials(field.product["id"], serials)


def test_only_a_version_that_nothing_needs_is_removed(field, tmp_path):
    vendor = field.server.vendor
    device = field.device()
    one, two = field.version, publish(field.server, field.template, tmp_path, app(4096))
    for prepare, told in (
        (lambda: None, "is the target"),
        (lambda: vendor.set_target(field.template["id"], two["id"]), None),
    ):
        prepare()
        if told:
            with pytest.raises(VendorError, match=told):
                vendor.remove_version(field.template["id"], one["id"])
    device.call("PUT", f"/versions/{one['id']}.json")
    with pytest.raises(VendorError, match="what S1 runs"):
        vendor.remove_version(field.template["id"], one["id"])
    device.call("PUT", f"/versions/{two['id']}.json")
    vendor.remove_version(field.template["id"], one["id"])
    assert [version["name"] for version in vendor.versions(field.template["id"])] == ["2"]
    assert len(list((tmp_path / "data" / "firmware").iterdir())) == 1
    assert_error(device.call("GET", f"/versions/{one['id']}/firmware.json"), 404, "GK-000-0004")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"# Thermometer\n" * 100, "no ESP32 image"),
        (b"\xff" * 0x1000 + FIRMWARE, "boot loader"),
        (FIRMWARE[:0x1000].ljust(0x10000, b"\xff") + FIRMWARE, "is no firmware"),
        (FIRMWARE[:-1], "is no firmware"),
        (FIRMWARE[:5000] + b"x" + FIRMWARE[5001:], "is no firmware"),
        (FIRMWARE[:12] + b"\x09" + FIRMWARE[13:], "is no firmware"),
        (FIRMWARE + b"\xff" * 16, "is no firmware"),
        (PLAIN_MICROPYTHON, "no release: it names no release number"),
        (app(20_000, bundle=bytes(4)), "no bundle"),
        (app(20_000, bundle=bundle_without("/agent/loop.py")), "bundle is damaged"),
        (app(20_000, bundle=bundle_without("/manifest.json")), "bundle is damaged"),
        (app(20_000, bundle=bundle_without("/thermometer.py")), "bundle is damaged"),
        (b"", "empty"),
    ],
)
def test_what_no_device_would_run_is_no_version(shared, tmp_path, content, told):
    with pytest.raises(VendorError, match=told) as refused:
        publish(shared.server, shared.template, tmp_path, content)
    assert refused.value.status == 400
    assert len(shared.server.vendor.versions(shared.template["id"])) == 1
    assert HTTP.get(f"{shared.server.url}/health").json() == {"status": "ok"}


def test_version_that_the_fleet_would_refuse_becomes_the_target_only_by_force(field, tmp_path):
    vendor, template = field.server.vendor, field.template["id"]
    device = field.device()
    bath = app(20_000, bundle=bundle_of(product="Bath"), product="Bath")
    seventh = app(20_000, bundle=bundle_of(release=7, floor=5), number=7)
    other, floored = (publish(field.server, field.template, tmp_path, content) for content in (bath, seventh))
    ways = (
        lambda version, force: vendor.set_target(template, version, force),
        lambda version, force: vendor.pin(device.thing_id, version, force),
        lambda version, force: vendor.cancel_rollout(vendor.start_rollout(template, version, force)["id"]),
    )
    for way in ways:
        with pytest.raises(VendorError, match="for the product Bath, but the target, version 1, for Thermometer") as no:
            way(other["id"], False)
        assert (no.value.status == 409 and vendor.rollouts() == []) or way is ways[2]
    vendor.set_target(template, floored["id"])
    for way in ways:
        with pytest.raises(VendorError, match=r"Version 1 is release 1, but .* lets none below 5 be installed"):
            way(field.version["id"], False)
    ways[1](field.version["id"], True)
    ways[2](field.version["id"], True)
    ways[0](field.version["id"], True)
    assert vendor.templates()[0]["targetVersion"]["id"] == field.version["id"]


def test_thing_has_only_so_many_properties_of_so_much(field):
    device = field.device()
    assert [device.write("1", f"p{number}").status_code for number in range(6)] == [204] * 4 + [409] * 2
    assert device.write("2", "p0").status_code == 204
    assert_error(device.write('"' + "x" * 9000 + '"', "p0"), 400, "GK-000-0003")
    assert_error(device.write('"' + "x" * 70_000 + '"', "p0"), 413, "GK-000-0003")


def test_reports_and_history_are_told_back_and_are_bounded(field):
    device = field.device()
    for number in range(70):
        assert device.write(f'{{"phase": "installed", "attempt": {number}}}', "status").status_code == 204
    device.write('{"phase": "installed", "attempt": 69}', "status")  # no news
    reports = device.call("GET", "/reports.json").json()
    assert [report["value"]["attempt"] for report in reports] == list(range(6, 70))
    for value in ("20.5", "21.5"):
        device.write(value)
    assert [kept["value"] for kept in device.call("GET", "/properties/temperature/history.json").json()] == [20.5]
    assert field.server.vendor.thing("S1")["properties"]["temperature"] == 21.5


def test_value_that_comes_late_takes_its_place_in_the_history_and_never_a_newer_ones(field):
    device = field.device()

    def write(value, age_s=None):
        headers = {} if age_s is None else {"X-Age": str(age_s)}
        return device.call("PUT", "/properties/temperature/value.json", content=value, headers=headers).status_code

    def history():
        return [kept["value"] for kept in device.call("GET", "/properties/temperature/history.json").json()]

    assert write("18.0", 7200) == 204
    assert device.call("GET", "/properties/temperature/value.json").json() == 18.0, "there is no newer one"
    assert write("21.0") == 204
    assert write("19.0", 3600) == write("17.0", 40 * 3600) == write("20.0", 1800) == 204
    assert device.call("GET", "/properties/temperature/value.json").json() == 21.0
    assert history() == [17.0, 18.0, 19.0, 20.0, 21.0]
    assert write("5.0", 3600 - 1) == write("21.0", 0) == 204
    assert history().count(5.0) <= 1 and len(history()) <= 6, "two in the place of one"
    for age_s in ("-1", "x", 40 * 86400):
        assert write("1.0", age_s) == 400, age_s


def test_things_come_in_pages_and_by_what_they_are(field):
    vendor = field.server.vendor
    for serial in ("S1", "S2", "S3"):
        device = field.device(serial)
    device.call("PUT", f"/versions/{field.version['id']}.json")
    serials = lambda things: [thing["serialNumber"] for thing in things]  # noqa: E731
    auth = ("vendor", field.server.password)
    first = HTTP.get(f"{field.server.url}/v1/things.json?limit=2", auth=auth)
    assert serials(first.json()) == ["S1", "S2"]
    following = first.links["next"]["url"]
    second = HTTP.get(field.server.url + following, auth=auth)
    assert serials(second.json()) == ["S3"] and "next" not in second.links
    assert serials(vendor.things(status="up to date")) == ["S3"]
    assert serials(vendor.things(status="update pending")) == ["S1", "S2"]
    assert serials(vendor.things(version=field.version["id"])) == ["S3"]
    assert serials(vendor.things(search="S")) == ["S1", "S2", "S3"]
    assert serials(vendor.things(name="Thermometer 2")) == ["S2"]
    assert vendor.things(search="%") == vendor.things(name="\0") == []


def test_vendors_have_names_and_a_password_ends_at_once(field):
    vendor, url = field.server.vendor, field.server.url
    anna = vendor.create_vendor("anna")
    assert HTTP.get(f"{url}/v1/templates.json", auth=("anna", anna["password"])).status_code == 200
    new = vendor.renew_password("anna")
    assert_error(HTTP.get(f"{url}/v1/templates.json", auth=("anna", anna["password"])), 401, "GK-000-0001")
    auth = ("anna", new["password"])
    assert HTTP.post(f"{url}/v1/templates.json", auth=auth, json={"name": "Of Anna"}).status_code == 200
    assert vendor.events(kind="template created")[0]["actor"] == "anna"
    vendor.remove_vendor("anna")
    assert HTTP.get(f"{url}/v1/templates.json", auth=auth).status_code == 401
    with pytest.raises(VendorError, match="themselves"):
        vendor.remove_vendor("vendor")


def test_guessing_passwords_is_slow_and_told_and_does_not_lock_the_vendor_out(field, caplog):
    url = f"{field.server.url}/v1/templates.json"
    assert HTTP.get(url, auth=("vendor", field.server.password)).status_code == 200
    began_s = time.monotonic()
    assert HTTP.get(url, auth=("vendor", "guess")).status_code == 401
    assert time.monotonic() - began_s >= 0.5
    assert "wrong password of vendor vendor, from 127.0.0.1" in caplog.text and "guess" not in caplog.text
    for _ in range(25):  # those are answered late: nobody waits
        with contextlib.suppress(Exception):
            HTTP.get(url, auth=("vendor", "guess"), timeout=0.05)
    wait_for(lambda: HTTP.get(url, auth=("vendor", "guess")).status_code == 429)
    assert HTTP.get(url, auth=("vendor", field.server.password)).status_code == 200


@pytest.mark.parametrize(
    "header", [b"Basic \xff\xfe", b"Basic " + base64.b64encode(b"\xff\xfe:x"), b"Basic " + base64.b64encode(b"a\0:x")]
)
def test_basic_header_beyond_ascii_is_401(shared, header):
    answer = HTTP.get(f"{shared.server.url}/v1/templates.json", headers={"Authorization": header})
    assert_error(answer, 401, "GK-000-0001")


def test_tricks_in_ids_are_errors_in_the_usual_form(field):
    auth, device = ("vendor", field.server.password), field.device("S4")
    for trick in ("%00", "'%20OR%201=1--", "..%2f..%2fetc%2fpasswd", "%f0%9f%8c%a1", "x" * 5000):
        for path in (
            f"/v1/things/{trick}.json",
            f"/v1/things/{trick}/versions/target.json",
            f"/v1/templates/{trick}/versions.json",
            f"/v1/products/{trick}/serials.json",
            f"/v1/serials/{trick}.json",
            f"/v1/things/{device.thing_id}/versions/{trick}/firmware.json",
        ):
            assert_error(HTTP.get(field.server.url + path, auth=auth), 404, "GK-000-0004")


def connect(field) -> socket.socket:
    host, port = field.server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_body_of_who_has_no_key_is_not_waited_for(shared):
    thing_id = shared.device().thing_id
    with connect(shared) as connection:
        head = f"PUT /v1/things/{thing_id}.json HTTP/1.1\r\nHost: x\r\nX-ApiKey: wrong\r\nContent-Length: 60000\r\n\r\n"
        connection.sendall(head.encode() + b" " * 1000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")


def test_head_that_never_ends_and_idle_connections_are_hung_up_on(shared, monkeypatch):
    monkeypatch.setattr("tools.server.protocol.HEAD_TIMEOUT_S", 0.3)
    with connect(shared) as silent, connect(shared) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost:")
        assert silent.recv(1) == slow.recv(1) == b""


def test_endless_head_is_refused(shared):
    with connect(shared) as connection:
        with contextlib.suppress(OSError):
            for _ in range(64):
                connection.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 1024)
                connection.sendall(b"x" * 1024)
        assert connection.recv(4096).startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_body_that_stops_coming_is_given_up(shared, monkeypatch):
    monkeypatch.setattr("tools.server.access._SMALL_TIMEOUT_S", 0.3)
    device = shared.device()
    with connect(shared) as connection:
        path = f"/v1/things/{device.thing_id}/properties/p/value.json"
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nX-ApiKey: {device.api_key}\r\nContent-Length: 9\r\n\r\n1"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_what_is_no_http_gets_an_error_in_the_usual_form(shared):
    with connect(shared) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400") and b'"code": "GK-000-0003"' in answer


def test_uploads_at_once_are_versions_one_after_the_other(field, tmp_path):
    contents = [app(30_000 + 16 * (number % 3), seed=number % 3) for number in range(12)]

    def upload(content: bytes) -> int:
        path = f"{field.server.url}/v1/templates/{field.template['id']}/versions.json"
        return HTTP.post(path, content=content, auth=("vendor", field.server.password)).status_code

    damaged = contents[0][:-1] + b"x"
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(upload, [*contents, damaged, b"", contents[0]]))
    assert statuses == [200] * 12 + [400, 400, 200]
    versions = field.server.vendor.versions(field.template["id"])
    assert [version["name"] for version in versions] == [str(number) for number in range(1, 15)]
    kept = {path.name for path in (tmp_path / "data" / "firmware").iterdir()}
    assert kept == {version["sha256"] for version in versions}, "no part of an upload stays, and nothing is missing"
