"""Patches at the server: for what things really run, the smallest that there is, and never in the way of a firmware."""

import errno
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest

from host_tests.desk.server import postgres
from host_tests.desk.server.images import app
from host_tests.desk.server.rig import AtUrl, make_field, publish, wait_for
from host_tests.desk.server.test_operations import process, vendor_of
from tools.delta import maker
from tools.proof.server_bench import world
from tools.server import running
from tools.server.firmware import FirmwareFiles
from tools.server.patches import Patches

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
def field(fields, tmp_path):
    """A fleet that makes patches: S1 runs version 1, version 2 is published."""
    with fields.open(tmp_path, patch_bases=2, serial_burst=100) as field:
        device = field.device()
        assert device.call("PUT", f"/versions/{field.version['id']}.json").status_code == 204
        field.new = publish(field.server, field.template, tmp_path, NEW)
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


def test_patch_that_comes_while_it_is_looked_for_is_not_told_as_none(field, monkeypatch):
    made = wait_until_made(field)
    assert made[0]["sizeBytes"] < len(NEW)
    looked_for = set()

    def late(look, nothing):
        def first_in_vain(patches, *arguments):
            base = arguments[-1]
            if base not in looked_for:
                looked_for.add(base)
                return nothing
            return look(patches, *arguments)

        return first_in_vain

    monkeypatch.setattr(Patches, "best", late(Patches.best, None))
    monkeypatch.setattr(Patches, "is_made", late(Patches.is_made, False))
    told = field.server.vendor.downloads(field.template["id"], field.new["id"])
    assert looked_for and all(each in made for each in told if each["ready"])


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


def test_patch_that_could_not_be_made_is_tried_again_an_hour_later(tmp_path, monkeypatch):
    """A full disk, a machine without memory: that passes, and must not cost every update of a release."""
    files = FirmwareFiles(tmp_path / "firmware")
    names = [hashlib.sha256(content).hexdigest() for content in (OLD, NEW)]
    for name, content in zip(names, (OLD, NEW), strict=True):
        files.path(name).write_bytes(content)
    made = Patches(tmp_path / "patches", files)
    with monkeypatch.context() as broken:
        broken.setattr("tools.delta.make_patch_file", lambda *_: 1 / 0 if made.is_made(names[1], base) else fail())

        def fail():
            raise OSError(errno.ENOSPC, "No space left on device")

        base = fingerprint(OLD)
        for _ in range(2):
            made.make(*names)
        assert made.is_made(names[1], base) and made.best(names[1], len(NEW), base) is None
    made.make(*names)
    assert made.best(names[1], len(NEW), base) is None, "it is not tried all the time"
    failed = next((tmp_path / "patches").glob("*.failed"))
    os.utime(failed, (time.time() - 3700, time.time() - 3700))
    assert not made.is_made(names[1], base)
    made.make(*names)
    assert made.best(names[1], len(NEW), base).size_bytes < 1000 and not failed.exists()


def test_server_that_makes_none_has_none(tmp_path):
    with running(tmp_path / "data", serial_burst=100) as server:
        field = make_field(server, tmp_path)
        downloads = server.vendor.downloads(field.template["id"], field.version["id"])
        assert downloads == [{"runs": None, "things": 0, "sizeBytes": len(OLD), "ready": True}]


def test_processes_and_machines_that_share_a_folder_make_each_patch_once_and_all_serve_it(tmp_path, postgresql):
    """Two servers of two processes each, as on two machines: one PostgreSQL, one folder."""
    url, data = postgresql.database(), tmp_path / "data"
    options = ("--workers", "2", "--limit", "patch_bases=2")
    with (
        process(data, *options, url=url) as (one, _),
        process(data, *options, url=url) as (two, _),
        vendor_of(one, data) as vendor,
    ):
        field = make_field(AtUrl(one, vendor), tmp_path)
        device = field.device()
        device.call("PUT", f"/versions/{field.version['id']}.json")
        field.new = publish(field.server, field.template, tmp_path, NEW)
        wait_until_made(field)
        made = {path: path.stat().st_mtime_ns for path in (data / "patches").glob(f"*-{field.new['sha256']}*")}
        assert len(made) == 2 and not any(path.suffix == ".part" for path in made)
        headers = {**PATCHED, "If-None-Match": f'"{fingerprint(OLD)}"'}
        for base in (one, two) * 10:
            with httpx.Client(trust_env=False) as fresh:  # a connection of its own: any of the processes
                path = f"{base}/v1/things/{device.thing_id}/versions/{field.new['id']}/firmware.json"
                answer = fresh.get(path, headers={**headers, "X-ApiKey": device.api_key})
            assert answer.status_code == 226 and maker.apply_patch(OLD, answer.content) == NEW
        time.sleep(3)  # more than a round of the job
        assert {path: path.stat().st_mtime_ns for path in made} == made


def test_process_that_is_killed_while_it_makes_patches_keeps_no_other_from_it(tmp_path):
    data, options = tmp_path / "data", ("--limit", "patch_bases=2")
    with process(data, *options) as (url, started), vendor_of(url, data) as vendor:
        field = make_field(AtUrl(url, vendor), tmp_path)
        field.device().call("PUT", f"/versions/{field.version['id']}.json")
        field.new = publish(field.server, field.template, tmp_path, NEW)
        wait_for(lambda: any((data / "patches").glob("*.part")) or len(list((data / "patches").glob("*-*"))) > 1, 30)
        os.killpg(started.pid, signal.SIGKILL)
    (data / "patches" / f"{fingerprint(OLD)}-{field.new['sha256']}.part").write_bytes(b"half of a pa")
    with process(data, *options) as (url, _), vendor_of(url, data) as vendor:
        field.server = AtUrl(url, vendor)
        wait_until_made(field)
        answer = ask(field, {**PATCHED, "If-None-Match": f'"{fingerprint(OLD)}"'})
        assert answer.status_code == 226 and maker.apply_patch(OLD, answer.content) == NEW
        assert not list((data / "patches").glob("*.part"))


def test_nginx_in_front_passes_patches_on_and_sends_the_firmware_itself(tmp_path):
    postgres.require("nginx", bool(shutil.which("nginx") or Path("/usr/sbin/nginx").exists()))
    data = tmp_path / "data"
    options = {"accel_prefix": "/firmware/", "proxies": "127.0.0.1", "patch_bases": 2, "serial_burst": 100}
    with running(data, **options) as server:
        field = make_field(server, tmp_path)
        device = field.device()
        device.call("PUT", f"/versions/{field.version['id']}.json")
        field.new = publish(server, field.template, tmp_path, NEW)
        wait_until_made(field)
        with world.nginx(tmp_path / "nginx", int(server.url.rpartition(":")[2]), data / "firmware", tmp_path) as port:
            direct, device.url = device.url, f"http://127.0.0.1:{port}"
            headers = {**PATCHED, "If-None-Match": f'"{fingerprint(OLD)}"'}
            patch = ask(field, headers, device)
            assert patch.status_code == 226 and maker.apply_patch(OLD, patch.content) == NEW
            etag = f'"{field.new["sha256"]}"'
            shown = {"IM": "gkp", "Delta-Base": f'"{fingerprint(OLD)}"', "ETag": etag, "Cache-Control": "no-store"}
            assert {name: patch.headers[name] for name in shown} == shown
            assert patch.headers["Vary"] == "Accept, A-IM, If-None-Match"
            part = ask(field, {**headers, "Range": "bytes=100-", "If-Range": etag}, device)
            assert (
                part.status_code == 226 and part.headers["IM"] == "gkp, range" and part.content == patch.content[100:]
            )
            whole = ask(field, {"Accept": "application/octet-stream"}, device)
            assert whole.status_code == 200 and whole.content == NEW and whole.headers["ETag"] == etag
            assert "IM" not in whole.headers and whole.headers["Vary"] == "Accept, A-IM, If-None-Match"
            unchanged = ask(field, {"Accept": "application/octet-stream", "If-None-Match": etag}, device)
            assert unchanged.status_code == 304 and unchanged.content == b""
            device.url = direct
            assert ask(field, {"Accept": "application/octet-stream"}, device).headers["X-Accel-Redirect"] is not None
