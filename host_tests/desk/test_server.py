"""The server against what devices, vendors and networks do to it: over real sockets, with its real files."""

import base64
import hashlib
import json
import re
import socket
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from host_tests.desk.server.images import app
from tools.server import Running, VendorError, running
from tools.server.firmware import CHUNK_BYTES

RAW = "application/octet-stream, application/json;q=0.5"
# 200,032 bytes: more than one chunk, no multiple of 3 (base64 padding), and not the same at any two places.
FIRMWARE = app(200_032)
ID = re.compile(r"[0-9a-f]{32}")
HTTP = httpx.Client(trust_env=False)


@dataclass
class Device:
    """What a device knows, and its calls."""

    server: Running
    serial: str
    thing_id: str = ""
    api_key: str = ""

    def call(self, method: str, path: str, headers: dict | None = None, **request) -> httpx.Response:
        headers = {"X-ApiKey": self.api_key} | (headers or {})
        return HTTP.request(method, self.server.url + path, headers=headers, **request)

    def on_thing(self, method: str, path: str, **request) -> httpx.Response:
        return self.call(method, f"/v1/things/{self.thing_id}{path}", **request)

    def activate(self) -> None:
        answer = self.call("PUT", f"/v1/things/activate/{self.serial}.json", headers={"X-ApiKey": ""})
        assert answer.status_code == 200
        self.thing_id, self.api_key = answer.json()["thingId"], answer.json()["apiKey"]

    def firmware(self, version_id: str, **headers: str) -> httpx.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.on_thing("GET", f"/versions/{version_id}/firmware.json", headers=headers)


@dataclass
class Field:
    """A template "Thermometer" with serial numbers registered under a product, and two published versions."""

    server: Running
    template: dict
    product: dict
    versions: list[dict]

    def device(self, number: int = 1) -> Device:
        device = Device(self.server, f"THERM{number:014d}")
        device.activate()
        return device


def make_field(server: Running, folder: Path) -> Field:
    template = server.vendor.create_template("Thermometer", "measures")
    product = server.vendor.create_product("Kitchen thermometer", template["id"])
    server.vendor.add_serials(product["id"], [f"THERM{number:014d}" for number in range(1, 4)])
    path = folder / "app.bin"
    versions = []
    for name, body in (("one", FIRMWARE), ("two", app(len(FIRMWARE), seed=2))):
        path.write_bytes(body)
        versions.append(server.vendor.create_version(template["id"], path, name))
    return Field(server, template, product, versions)


@pytest.fixture
def field(tmp_path):
    with running(tmp_path / "data") as server:
        yield make_field(server, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One field for the tests that need no fresh one."""
    folder = tmp_path_factory.mktemp("shared")
    with running(folder / "data", serial_burst=1000, again_burst=1000) as server:
        yield make_field(server, folder)


def assert_error(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"code", "message"}
    assert answer.json()["code"] == code
    assert answer.json()["message"]


# The calls, one by one.


def test_whole_life_of_a_device(field):
    vendor, (one, two) = field.server.vendor, field.versions
    device = field.device()
    assert ID.fullmatch(device.thing_id) and ID.fullmatch(device.api_key)
    assert vendor.thing(device.serial)["name"] == "Thermometer 1"

    assert device.on_thing("PUT", ".json", json={"name": "ThermometerDevice", "description": None}).status_code == 204
    assert_error(device.on_thing("GET", "/versions/target.json"), 404, "GK-000-0004")
    vendor.set_target(field.template["id"], two["id"])
    target = {"id": two["id"], "name": "2", "description": "two"}
    assert device.on_thing("GET", "/versions/target.json").json() == target
    assert_error(device.on_thing("GET", "/versions/current.json"), 404, "GK-000-0004")
    assert [version["name"] for version in device.on_thing("GET", "/versions.json").json()] == ["1", "2"]
    assert vendor.thing(device.serial)["status"] == "update pending"

    assert device.on_thing("PUT", f"/versions/{two['id']}.json").status_code == 204
    assert device.on_thing("GET", "/versions/current.json").json() == target
    assert device.on_thing("PUT", "/properties/temperature/value.json", content="21.5").status_code == 204
    assert device.on_thing("GET", "/properties/temperature/value.json").json() == 21.5

    thing = vendor.thing(device.serial)
    assert thing == device.on_thing("GET", ".json").json()
    assert (thing["id"], thing["name"], thing["status"]) == (device.thing_id, "ThermometerDevice", "up to date")
    assert thing["currentVersion"] == thing["targetVersion"] == target
    assert thing["currentVersionSince"].endswith("+00:00")
    assert thing["properties"] == {"temperature": 21.5}
    assert vendor.things() == [thing]

    vendor.pin(device.thing_id, one["id"])
    assert device.on_thing("GET", "/versions/target.json").json()["name"] == "1"
    vendor.unpin(device.thing_id)
    assert device.on_thing("GET", "/versions/target.json").json()["name"] == "2"


def test_names_count_the_things_of_their_template_only(field, tmp_path):
    vendor = field.server.vendor
    other = vendor.create_template("Scale")
    vendor.add_serials(vendor.create_product("Kitchen scale", other["id"])["id"], ["SCALE1"])
    field.device(1)
    Device(field.server, "SCALE1").activate()
    field.device(2)
    field.device(1)
    assert [thing["name"] for thing in vendor.things()] == ["Scale 1", "Thermometer 1", "Thermometer 2"]


def test_vendor_lists(field):
    vendor = field.server.vendor
    vendor.set_target(field.template["id"], field.versions[0]["id"])
    (template,) = vendor.templates()
    assert template["targetVersion"]["name"] == "1"
    assert vendor.products() == [field.product]
    sizes = [(version["name"], version["sizeBytes"]) for version in vendor.versions(template["id"])]
    assert sizes == [("1", len(FIRMWARE)), ("2", len(FIRMWARE))]


@pytest.mark.parametrize("value", ["21.5", "-7", "true", "null", '"warm"', '{"c": [21.5, {}]}', '"\\u00b0"'])
def test_any_json_value_survives_as_property(shared, value):
    device = shared.device()
    # As a small client sends it: a body with no Content-Type.
    assert device.on_thing("PUT", "/properties/p/value.json", content=value).status_code == 204
    assert device.on_thing("GET", "/properties/p/value.json").json() == json.loads(value)


@pytest.mark.parametrize(
    "body", ["", "21,5", "NaN", "1e999", "[" * 5000, '"\\ud800"', "1" * 5000, '"' + "x" * 9000 + '"']
)
def test_value_that_cannot_be_kept_is_400_and_changes_nothing(shared, body):
    device = shared.device()
    device.on_thing("PUT", "/properties/p/value.json", content="1")
    assert_error(device.on_thing("PUT", "/properties/p/value.json", content=body), 400, "GK-000-0003")
    assert device.on_thing("GET", "/properties/p/value.json").json() == 1


def test_rename_to_nonsense_is_400(field):
    device = field.device()
    for body in ("", "[]", '{"name": ""}', '{"name": 5}', '{"name": "' + "x" * 201 + '"}'):
        assert_error(device.on_thing("PUT", ".json", content=body), 400, "GK-000-0003")
    assert device.on_thing("GET", ".json").json()["name"] == "Thermometer 1"


# Keys.


def test_old_key_is_dropped_at_once_and_the_thing_is_left_alone(field):
    old = field.device()
    old.on_thing("PUT", ".json", json={"name": "ThermometerDevice"})
    new = field.device()
    assert new.thing_id == old.thing_id and new.api_key != old.api_key
    assert_error(old.on_thing("GET", "/versions.json"), 401, "GK-000-0001")
    assert new.on_thing("GET", ".json").json()["name"] == "ThermometerDevice"


def test_two_boots_activating_at_once_get_one_thing_and_one_good_key(field):
    with ThreadPoolExecutor(12) as pool:
        devices = list(pool.map(lambda _: field.device(), range(12)))
    assert len(field.server.vendor.things()) == 1
    assert len({device.api_key for device in devices}) == 12
    answers = [device.on_thing("GET", "/versions.json").status_code for device in devices]
    assert sorted(answers) == [200] + [401] * 11


def test_key_of_another_thing_is_refused_everywhere(field):
    device, other = field.device(1), field.device(2)
    other.thing_id = device.thing_id
    version_id = field.versions[0]["id"]
    calls = [
        ("GET", ".json"),
        ("PUT", ".json"),
        ("GET", "/versions.json"),
        ("GET", "/versions/target.json"),
        ("GET", "/versions/current.json"),
        ("GET", f"/versions/{version_id}/firmware.json"),
        ("PUT", f"/versions/{version_id}.json"),
        ("PUT", "/properties/p/value.json"),
        ("GET", "/properties/p/value.json"),
    ]
    for method, path in calls:
        request = {"content": "{}"} if method == "PUT" else {}
        assert_error(other.on_thing(method, path, **request), 403, "GK-000-0002")
        for key in ("", "0" * 32, "\xff"):
            wrong = device.on_thing(method, path, headers={"X-ApiKey": key.encode("latin-1")}, **request)
            assert_error(wrong, 401, "GK-000-0001")
    thing = field.server.vendor.thing(device.serial)
    assert (thing["name"], thing["currentVersion"], thing["properties"]) == ("Thermometer 1", None, {})


def test_key_as_query_parameter_and_vendor_on_thing_calls(shared):
    device = shared.device()
    path = f"/v1/things/{device.thing_id}/versions.json"
    nothing = {"X-ApiKey": ""}
    assert device.call("GET", path, nothing, params={"ApiKey": device.api_key}).status_code == 200
    vendor = ("vendor", shared.server.password)
    assert device.call("GET", path, nothing, auth=vendor).status_code == 200
    assert_error(device.call("GET", f"/v1/things/{'0' * 32}.json", nothing, auth=vendor), 404, "GK-000-0004")


@pytest.mark.parametrize("authorization", ["", "Basic", "Basic !!", "Bearer x", "Basic dmVuZG9yOnZlbmRvcg=="])
def test_vendor_calls_need_the_password(shared, authorization):
    device = shared.device()
    headers = {"Authorization": authorization}
    for key in ("", device.api_key):
        for method, path in (
            ("GET", "/v1/things.json"),
            ("GET", "/v1/products/x/serials.json"),
            ("POST", "/v1/templates.json"),
            ("DELETE", "/v1/things/x/pin.json"),
        ):
            answer = device.call(method, path, headers | {"X-ApiKey": key})
            assert_error(answer, 401, "GK-000-0001")
            assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_no_key_lies_on_the_disk(field, tmp_path):
    device = field.device()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("gadgetkeeper*"))
    assert hashlib.sha256(device.api_key.encode()).hexdigest().encode() in kept
    assert device.api_key.encode() not in kept
    assert (tmp_path / "data" / "vendor-password").stat().st_mode & 0o777 == 0o600


# Bad requests.


def test_every_error_has_code_and_message(shared):
    device = shared.device()
    nothing = "0" * 32
    assert_error(device.call("PUT", "/v1/things/activate/THERM9.json"), 404, "GK-000-0004")
    assert_error(device.call("PUT", "/v1/things/activate/%00%ff.json"), 404, "GK-000-0004")
    assert_error(device.on_thing("PUT", f"/versions/{nothing}.json"), 404, "GK-000-0004")
    assert_error(device.firmware(nothing), 404, "GK-000-0004")
    assert_error(device.on_thing("GET", "/properties/none/value.json"), 404, "GK-000-0004")
    assert_error(device.on_thing("PUT", "/properties/a%20b/value.json", content="1"), 400, "GK-000-0003")
    assert_error(device.call("GET", "/nothing/here"), 404, "GK-000-0004")
    assert_error(device.call("DELETE", "/v1/things.json"), 405, "GK-000-0003")


def test_internal_error_tells_nothing_about_the_inside(field, tmp_path):
    device = field.device()
    for file in (tmp_path / "data" / "firmware").iterdir():
        file.unlink()
    answer = device.firmware(field.versions[0]["id"])
    assert_error(answer, 500, "GK-000-0005")
    assert str(tmp_path) not in answer.text


def test_version_of_another_template_is_not_found(field, tmp_path):
    vendor, device = field.server.vendor, field.device()
    foreign = vendor.create_version(vendor.create_template("Scale")["id"], tmp_path / "app.bin")
    assert foreign["name"] == "1"
    assert_error(device.on_thing("PUT", f"/versions/{foreign['id']}.json"), 404, "GK-000-0004")
    assert_error(device.firmware(foreign["id"]), 404, "GK-000-0004")
    for call in (
        lambda: vendor.pin(device.thing_id, foreign["id"]),
        lambda: vendor.set_target(field.template["id"], foreign["id"]),
    ):
        with pytest.raises(VendorError) as refused:
            call()
        assert refused.value.status == 404


def test_serials_are_added_all_or_none(field):
    vendor, product_id = field.server.vendor, field.product["id"]
    bad = [
        ["NEW1", "THERM00000000000002"],
        ["NEW1", "NEW2", "NEW2"],
        ["NEW1", "a/b"],
        ["NEW1", ".."],
        ["NEW1", "x" * 65],
    ]
    for serials in bad:
        with pytest.raises(VendorError, match=re.escape(repr(serials[-1]))) as refused:
            vendor.add_serials(product_id, serials)
        assert (refused.value.status, refused.value.code) == (400, "GK-000-0003")
    vendor.add_serials(product_id, ["NEW1", "NEW2", "x" * 64, "a.b_c-D"])
    vendor.add_serials(product_id, [f"MANY{number}" for number in range(1500)])
    with pytest.raises(VendorError, match="and 1490 more"):
        vendor.add_serials(product_id, [f"MANY{number}" for number in range(1500)])


def test_serials_of_a_product_are_its_own(field):
    vendor = field.server.vendor
    other = vendor.create_product("Kitchen scale", field.template["id"])
    assert vendor.serials(other["id"]) == []
    vendor.add_serials(other["id"], ["B", "A"])
    assert vendor.serials(other["id"]) == ["A", "B"]
    assert vendor.serials(field.product["id"]) == [f"THERM{number:014d}" for number in range(1, 4)]
    with pytest.raises(VendorError, match="no product unknown") as refused:
        vendor.serials("unknown")
    assert refused.value.status == 404


def test_names_of_products_and_templates_are_unique(shared):
    vendor = shared.server.vendor
    with pytest.raises(VendorError, match="template Thermometer already"):
        vendor.create_template("Thermometer")
    with pytest.raises(VendorError, match="product Kitchen thermometer already"):
        vendor.create_product("Kitchen thermometer", shared.template["id"])
    with pytest.raises(VendorError, match="no template"):
        vendor.create_product("Other", "0" * 32)


# Firmware.


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", "text/html, */*;q=0.8", "application/octet-stream;q=0"]
)
def test_json_string_is_what_a_client_gets_that_asks_for_nothing_else(shared, accept):
    device = shared.device()
    headers = {"Accept": accept} if accept else {}
    url = f"{shared.server.url}/v1/things/{device.thing_id}/versions/{shared.versions[0]['id']}/firmware.json"
    request = httpx.Request("GET", url, headers={"X-ApiKey": device.api_key} | headers)
    answer = HTTP.send(request)
    assert answer.headers["Content-Type"] == "application/json"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert base64.b64decode(json.loads(answer.content), validate=True) == FIRMWARE


@pytest.mark.parametrize(
    "accept", [RAW, "application/octet-stream", "APPLICATION/octet-stream, */*", "application/json;q=0.1, */*"]
)
def test_raw_for_those_who_prefer_it(shared, accept):
    answer = shared.device().firmware(shared.versions[0]["id"], Accept=accept)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(FIRMWARE).hexdigest()}"'
    assert answer.content == FIRMWARE


@pytest.mark.parametrize("form", ["string", "object", "raw"])
def test_forced_form_ignores_accept_and_is_exact_at_any_length(tmp_path, form):
    with running(tmp_path / "data", firmware_form=form) as server:
        field = make_field(server, tmp_path)
        device = field.device()
        for size_bytes in (1536, 1552, 1568, CHUNK_BYTES, CHUNK_BYTES + 16):
            firmware = app(size_bytes)
            (tmp_path / "app.bin").write_bytes(firmware)
            version = server.vendor.create_version(field.template["id"], tmp_path / "app.bin", 'say "hi"\n')
            answer = device.firmware(version["id"], Accept="application/json" if form == "raw" else RAW)
            assert int(answer.headers["Content-Length"]) == len(answer.content)
            if form == "raw":
                assert answer.content == firmware
                continue
            body = answer.json()
            if form == "object":
                assert (body["version"], body["note"]) == (version["name"], 'say "hi"\n')
                body = body["firmware"]
            assert base64.b64decode(body, validate=True) == firmware


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=4096-", 4096, None), ("bytes=-5", -5, None), ("bytes=199999-999999", 199_999, None)],
)
def test_interrupted_download_goes_on_where_it_stopped(shared, header, start, end):
    device, version_id = shared.device(), shared.versions[0]["id"]
    etag = device.firmware(version_id, Accept=RAW).headers["ETag"]
    answer = device.firmware(version_id, Accept=RAW, Range=header, If_Range=etag)
    assert answer.status_code == 206
    assert answer.content == FIRMWARE[start:end]
    first = start % len(FIRMWARE)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(FIRMWARE)}"


@pytest.mark.parametrize("header", ["bytes=200032-", "bytes=999999-1000000", "bytes=-0"])
def test_range_outside_is_416(shared, header):
    answer = shared.device().firmware(shared.versions[0]["id"], Accept=RAW, Range=header)
    assert_error(answer, 416, "GK-000-0003")
    assert answer.headers["Content-Range"] == f"bytes */{len(FIRMWARE)}"


@pytest.mark.parametrize(
    "header", ["bytes=5-1", "bytes=", "bytes=-", "lines=0-1", "bytes=0-1,5-6", "bytes=x-", "bytes=" + "9" * 99 + "-"]
)
def test_range_that_is_none_is_answered_whole(shared, header):
    answer = shared.device().firmware(shared.versions[0]["id"], Accept=RAW, Range=header)
    assert (answer.status_code, answer.content) == (200, FIRMWARE)


def test_range_of_other_firmware_than_begun_is_answered_whole(shared):
    for etag in ('"other"', "Tue, 24 Nov 2026 06:17:43 GMT"):
        answer = shared.device().firmware(shared.versions[0]["id"], Accept=RAW, Range="bytes=5-", If_Range=etag)
        assert (answer.status_code, answer.content) == (200, FIRMWARE)


@pytest.mark.parametrize("accept", ["", f"Accept: {RAW}\r\n"])
def test_http_1_0_client_gets_a_whole_body_and_the_end(shared, accept):
    device = shared.device()
    path = f"/v1/things/{device.thing_id}/versions/{shared.versions[0]['id']}/firmware.json"
    host, port = shared.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.0\r\nHost: {host}\r\nX-ApiKey: {device.api_key}\r\n{accept}\r\n".encode()
        )
        with connection.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].endswith(b" 200 OK")
    assert b"chunked" not in head.lower()
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert (body if accept else base64.b64decode(json.loads(body))) == FIRMWARE


def test_memory_does_not_grow_with_the_firmware(field, tmp_path):
    size_bytes = 12 * 1024 * 1024
    (tmp_path / "big.bin").write_bytes(app(size_bytes))
    device = field.device()
    tracemalloc.start()
    try:
        version = field.server.vendor.create_version(field.template["id"], tmp_path / "big.bin")
        for accept, length_bytes in ((RAW, size_bytes), ("*/*", size_bytes // 3 * 4 + 2)):
            url = f"{field.server.url}/v1/things/{device.thing_id}/versions/{version['id']}/firmware.json"
            headers = {"X-ApiKey": device.api_key, "Accept": accept}
            with HTTP.stream("GET", url, headers=headers) as answer:
                assert sum(len(chunk) for chunk in answer.iter_raw()) == length_bytes
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_same_firmware_twice_is_one_file(field, tmp_path):
    (tmp_path / "app.bin").write_bytes(FIRMWARE)
    again = field.server.vendor.create_version(field.template["id"], tmp_path / "app.bin")
    assert again["name"] == "3"
    files = list((tmp_path / "data" / "firmware").iterdir())
    assert len(files) == 2
    assert all(file.name == hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


@pytest.mark.parametrize("size_bytes", [0, 16 * 1024 * 1024 + 1])
def test_empty_or_impossible_firmware_is_no_version(field, tmp_path, size_bytes):
    with (tmp_path / "bad.bin").open("wb") as file:
        file.truncate(size_bytes)
    with pytest.raises(VendorError):
        field.server.vendor.create_version(field.template["id"], tmp_path / "bad.bin")
    assert_nothing_was_added(field, tmp_path)


def test_upload_that_is_cut_off_leaves_nothing(field, tmp_path):
    host, port = field.server.url.removeprefix("http://").split(":")
    credentials = base64.b64encode(f"vendor:{field.server.password}".encode()).decode()
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        path = f"/v1/templates/{field.template['id']}/versions.json"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\nContent-Length: 9999\r\n\r\n"
        connection.sendall(head.encode() + b"\xe9" * 5000)
        wait_for(lambda: list((tmp_path / "data" / "firmware").glob("*.part")))
    wait_for(lambda: not list((tmp_path / "data" / "firmware").glob("*.part")))
    assert_nothing_was_added(field, tmp_path)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_nothing_was_added(field: Field, folder: Path) -> None:
    assert len(field.server.vendor.versions(field.template["id"])) == 2
    assert len(list((folder / "data" / "firmware").iterdir())) == 2


# Restart.


def records(server: Running) -> list:
    """What the vendor sees, but for the times when things were last seen: they are written once in a while."""
    things = [thing | {"lastSeen": None} for thing in server.vendor.things()]
    return [things, server.vendor.templates(), server.vendor.products()]


def test_restart_keeps_everything(tmp_path):
    with running(tmp_path / "data") as server:
        field = make_field(server, tmp_path)
        device = field.device()
        server.vendor.set_target(field.template["id"], field.versions[1]["id"])
        server.vendor.pin(device.thing_id, field.versions[0]["id"])
        device.on_thing("PUT", f"/versions/{field.versions[0]['id']}.json")
        device.on_thing("PUT", "/properties/temperature/value.json", content="21.5")
        before = records(server)
    (tmp_path / "data" / "firmware" / "cut.part").write_bytes(b"\xe9")
    with running(tmp_path / "data") as again:
        assert again.password == server.password
        assert records(again) == before
        device.server = again
        assert device.firmware(field.versions[0]["id"], Accept=RAW).content == FIRMWARE
        assert len(list((tmp_path / "data" / "firmware").iterdir())) == 2


def test_server_ends_although_a_download_hangs(tmp_path):
    with running(tmp_path / "data") as server:
        field = make_field(server, tmp_path)
        (tmp_path / "app.bin").write_bytes(app(8 * 1024 * 1024))
        version = server.vendor.create_version(field.template["id"], tmp_path / "app.bin")
        device = field.device()
        host, port = server.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), timeout=5)
        path = f"/v1/things/{device.thing_id}/versions/{version['id']}/firmware.json"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-ApiKey: {device.api_key}\r\n\r\n".encode())
        assert connection.recv(1)
        ending_s = time.monotonic()
    assert time.monotonic() - ending_s < 3
    connection.close()
