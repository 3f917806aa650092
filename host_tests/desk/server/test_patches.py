"""Patches at the server: for what things really run, the smallest that there is, and never in the way of a firmware."""

import hashlib

import pytest

from host_tests.desk.server.images import app
from host_tests.desk.server.rig import make_field, publish, wait_for
from tools.delta import maker
from tools.server import running

OLD = app(200_032)  # what the rig publishes first
PATCHED = {"Accept": "application/octet-stream", "A-IM": "gkp, range"}


def changed(content: bytes, *places: int) -> bytes:
    """Another release that differs in pairs of places."""
    body = bytearray(content[:-32])
    for place in places:
        body[place] ^= 64
    return bytes(body) + hashlib.sha256(body).digest()


NEW = changed(OLD, 5000, 150_000)


def fingerprint(image: bytes) -> str:
    """What a device calls the release."""
    return image[-32:-16].hex()


@pytest.fixture
def field(tmp_path):
    """A fleet that makes patches: S1 runs version 1, version 2 is published."""
    with running(tmp_path / "data", patch_bases=2, serial_burst=100) as server:
        field = make_field(server, tmp_path)
        device = field.device()
        assert device.call("PUT", f"/versions/{field.version['id']}.json").status_code == 204
        field.new = publish(server, field.template, tmp_path, NEW)
        yield field


def wait_until_made(field, version: dict | None = None) -> list[dict]:
    """Wait for all patches; what is downloaded."""
    version = version or field.new
    found = []

    def is_made() -> bool:
        found[:] = field.server.vendor.downloads(field.template["id"], version["id"])
        return all(each["ready"] for each in found)

    wait_for(is_made, 60)
    return found


def ask(field, headers: dict, device=None):
    return (device or field.device()).call("GET", f"/versions/{field.new['id']}/firmware.json", headers)


def test_thing_that_names_what_it_runs_gets_a_patch_for_it(field):
    downloads = wait_until_made(field)
    answer = ask(field, {**PATCHED, "If-None-Match": f'"{fingerprint(OLD)}"'})
    assert answer.status_code == 226 and answer.headers["IM"] == "gkp"
    assert answer.headers["Delta-Base"] == f'"{fingerprint(OLD)}"'
    assert answer.headers["ETag"] == f'"{hashlib.sha256(NEW).hexdigest()}"'
    assert answer.headers["Cache-Control"] == "no-store" and "A-IM" in answer.headers["Vary"]
    assert maker.apply_patch(OLD, answer.content) == NEW
    assert downloads[0] == {"runs": "1", "things": 1, "sizeBytes": len(answer.content), "ready": True}
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/octet-stream"},
        {"Accept": "application/octet-stream", "If-None-Match": f'"{fingerprint(OLD)}"'},
        {"Accept": "application/octet-stream", "A-IM": "vcdiff", "If-None-Match": f'"{fingerprint(OLD)}"'},
        {**PATCHED, "If-None-Match": f'"{"0" * 32}"'},  # noise: compressed it is not smaller
        {**PATCHED, "If-None-Match": '"../../../x"'},
        {**PATCHED, "If-None-Match": f'"{fingerprint(NEW)}"'},
    ],
)
def test_everybody_else_gets_the_firmware_as_it_is(field, headers):
    wait_until_made(field)
    answer = ask(field, headers)
    assert answer.status_code == 200 and answer.content == NEW and "IM" not in answer.headers


def test_json_stays_json(field):
    wait_until_made(field)
    answer = ask(field, {"A-IM": "gkp", "If-None-Match": f'"{fingerprint(OLD)}"'})
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"


def test_compressible_firmware_goes_out_compressed_to_whoever_has_no_base(field, tmp_path):
    content = app(200_032, zeros_bytes=100_000)
    field.new = publish(field.server, field.template, tmp_path, content)
    downloads = wait_until_made(field)
    answer = ask(field, {**PATCHED, "If-None-Match": f'"{"0" * 32}"'})
    assert answer.status_code == 226 and "Delta-Base" not in answer.headers
    assert maker.apply_patch(b"", answer.content) == content
    assert downloads[-1]["runs"] is None and downloads[-1]["sizeBytes"] == len(answer.content) < len(content)


def test_range_of_a_patch_is_a_range_of_that_firmwares_patch(field):
    wait_until_made(field)
    headers = {**PATCHED, "If-None-Match": f'"{fingerprint(OLD)}"'}
    whole = ask(field, headers).content
    etag = f'"{hashlib.sha256(NEW).hexdigest()}"'
    answer = ask(field, {**headers, "Range": "bytes=100-", "If-Range": etag})
    assert answer.status_code == 226 and answer.headers["IM"] == "gkp, range" and answer.content == whole[100:]
    assert answer.headers["Content-Range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    for more in ({"If-Range": '"other"'}, {"If-Range": etag, "A-IM": "gkp"}):
        answer = ask(field, {**headers, "Range": "bytes=100-", **more})
        assert answer.status_code == 226 and answer.headers["IM"] == "gkp" and answer.content == whole, more


def test_patches_of_a_firmware_that_nobody_should_run_any_more_are_removed(field, tmp_path):
    wait_until_made(field)
    folder = tmp_path / "data" / "patches"
    assert list(folder.glob(f"*-{field.new['sha256']}"))
    third = publish(field.server, field.template, tmp_path, changed(OLD, 7000, 7001))
    wait_for(lambda: not list(folder.glob(f"*-{field.new['sha256']}")), 30)
    wait_until_made(field, third)
    assert list(folder.glob(f"*-{third['sha256']}"))


def test_server_that_makes_none_has_none(tmp_path):
    with running(tmp_path / "data", serial_burst=100) as server:
        field = make_field(server, tmp_path)
        downloads = server.vendor.downloads(field.template["id"], field.version["id"])
        assert downloads == [{"runs": None, "things": 0, "sizeBytes": len(OLD), "ready": True}]
