"""The server as those who run it meet it: crashes, full disks, databases that go away, backups, several processes."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import trustme

from host_tests.desk.server import postgres
from host_tests.desk.server.images import app
from host_tests.desk.server.rig import FIRMWARE, HTTP, Device, assert_error, make_field, publish, wait_for
from tools.proof.server_bench import world
from tools.server import ServingError, Vendor, VendorError, running
from tools.server.cli import main

ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def process(folder: Path, *options: str, url: str | None = None):
    """A server in a process of its own, in a group of its own; killed at the end, if it is still there."""
    port_file = folder.parent / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tools.server", "serve", "--port", "0", "--port-file", str(port_file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GADGETKEEPER")}
    environment |= {"DATABASE_URL": url} if url else {}
    log = (folder.parent / "log").open("ab")
    with (
        log,
        subprocess.Popen(
            [*command, "--data", str(folder), *options],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as started,
    ):
        try:
            wait_for(port_file.exists, 60)
            base = f"http://127.0.0.1:{port_file.read_text().strip()}"

            def is_well() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    return HTTP.get(f"{base}/health").status_code == 200
                return False

            wait_for(is_well, 60)
            yield base, started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


def vendor_of(url: str, folder: Path) -> Vendor:
    return Vendor(url, (folder / "vendor-password").read_text().strip())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_kill_under_load_loses_nothing_that_was_acknowledged(tmp_path, workers):
    data = tmp_path / "data"
    acknowledged: dict[str, int] = {}
    with process(data, "--workers", workers) as (url, started):
        with vendor_of(url, data) as vendor:
            product = vendor.create_product("P", vendor.create_template("T")["id"])
            vendor.add_serials(product["id"], [f"K{number}" for number in range(40)])
        devices = [Device(url, f"K{number}") for number in range(40)]
        for device in devices[:20]:
            device.activate()
        is_over = threading.Event()

        def load(device: Device) -> None:
            for value in itertools.count(1):
                if is_over.is_set():
                    return
                with contextlib.suppress(httpx.HTTPError):
                    if not device.api_key:
                        device.activate()
                    elif device.write(str(value)).status_code == 204:
                        acknowledged[device.serial] = value

        with ThreadPoolExecutor(8) as pool:
            running_loads = [pool.submit(load, device) for device in devices[::5]]
            wait_for(lambda: len(acknowledged) >= 6, 60)
            os.killpg(started.pid, signal.SIGKILL)
            is_over.set()
            for each in running_loads:
                each.result()
    with process(data, "--workers", workers) as (url, _), vendor_of(url, data) as vendor:
        for device in devices:
            device.url = url
            if device.api_key:
                assert device.call("GET", ".json").status_code == 200, device.serial
        kept = {thing["serialNumber"]: thing["properties"].get("temperature", 0) for thing in vendor.things()}
    assert acknowledged
    for serial, value in acknowledged.items():
        assert kept[serial] >= value


def test_key_dropped_by_one_process_is_refused_by_all(tmp_path, postgresql):
    """Two servers on one database, as on two machines."""
    url = postgresql.database()
    with (
        running(tmp_path / "one", database_url=url, password="x") as one,
        running(tmp_path / "two", database_url=url, password="x") as two,
    ):
        make_field(one, tmp_path)
        device = Device(one.url, "S1")
        device.activate()
        for first, second in ((one, two), (two, one)) * 3:
            old = Device(second.url, "S1", device.thing_id, device.api_key)
            assert old.poll().status_code == 200
            device = Device(first.url, "S1")
            device.activate()
            assert_error(old.poll(), 401, "GK-000-0001")
        anna = one.vendor.create_vendor("anna")
        for server in (one, two):
            auth = ("anna", anna["password"])
            assert HTTP.get(f"{server.url}/v1/products.json", auth=auth).status_code == 200
        one.vendor.remove_vendor("anna")
        assert_error(HTTP.get(f"{two.url}/v1/products.json", auth=auth), 401, "GK-000-0001")


def test_database_that_goes_away_and_comes_back(tmp_path, caplog):
    with postgres.cluster() as cluster, running(tmp_path / "data", database_url=cluster.database()) as server:
        field = make_field(server, tmp_path)
        device = field.device()
        cluster.stop()
        for answer in (
            device.poll(),
            device.write("1"),
            HTTP.get(f"{server.url}/health"),
            HTTP.get(f"{server.url}/v1/templates.json", auth=("vendor", server.password)),
            Device(server.url, "S2").activate(),
        ):
            assert_error(answer, 503, "GK-000-0005")
            assert int(answer.headers["Retry-After"]) > 0
        assert "Traceback" not in caplog.text and "the database cannot be used" in caplog.text
        cluster.start()
        wait_for(lambda: device.poll().status_code == 200)
        assert device.write("2").status_code == 204
        wait_for(lambda: HTTP.get(f"{server.url}/health").status_code == 200)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    done = mounted and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if not done or done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk_is_507_with_nothing_half_written_and_over_when_there_is_room(small_disk, tmp_path, caplog):
    data = small_disk / "data"
    with running(data) as server:
        field = make_field(server, tmp_path)
        device = field.device()
        with pytest.raises(VendorError) as refused:
            publish(server, field.template, tmp_path, app(3 * 1024 * 1024))
        assert (refused.value.status, refused.value.code) == (507, "GK-000-0005")
        assert [path.name for path in (data / "firmware").iterdir()] == [field.version["sha256"]]
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        statuses = {device.write(f'"{number:060d}"', f"p{number % 30}").status_code for number in range(120)}
        assert 507 in statuses and statuses <= {204, 507}
        assert device.poll().status_code == 200
        assert "Traceback" not in caplog.text and "the disk is full" in caplog.text
        filler.unlink()
        wait_for(lambda: device.write("1").status_code == 204)
        assert publish(server, field.template, tmp_path, app(4096))["name"] == "2"


def test_second_server_on_a_folder_is_refused_and_harms_nothing(tmp_path, capsys):
    with running(tmp_path / "data") as server:
        half = tmp_path / "data" / "firmware" / "half.part"
        half.write_bytes(b"\xe9")
        with pytest.raises(ServingError, match="another server uses"), running(tmp_path / "data"):
            pass
        assert half.exists() and HTTP.get(f"{server.url}/health").status_code == 200
    with running(tmp_path / "data"):
        assert not half.exists()


def test_folder_and_files_are_their_owners_alone(tmp_path):
    (tmp_path / "data").mkdir(mode=0o755)
    with running(tmp_path / "data") as server:
        make_field(server, tmp_path)
        modes = {path: path.stat().st_mode & 0o077 for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]}
    assert not {path for path, mode in modes.items() if mode}


def test_backup_of_a_running_server_is_a_server_again(tmp_path, capsys):
    data, copy, restored = tmp_path / "data", tmp_path / "copy", tmp_path / "restored"
    with running(data) as server:
        field = make_field(server, tmp_path)
        device = field.device()
        device.write("21.5")
        assert main(["backup", str(copy), "--data", str(data)]) == 0
        before = server.vendor.things()
    assert main(["backup", str(copy), "--data", str(data)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert main(["restore", str(copy), "--data", str(restored)]) == 0
    with running(restored) as server:
        assert server.password and [thing | {"lastSeen": None} for thing in server.vendor.things()] == [
            thing | {"lastSeen": None} for thing in before
        ]
        device.url = server.url
        answer = device.call(
            "GET",
            f"/versions/{field.version['id']}/firmware.json",
            headers={"Accept": "application/octet-stream"},
        )
        assert answer.content == FIRMWARE
    assert main(["restore", str(copy), "--data", str(restored)]) == 1
    (copy / "firmware" / field.version["sha256"]).chmod(0o600)
    (copy / "firmware" / field.version["sha256"]).write_bytes(b"other")
    assert main(["restore", str(copy), "--data", str(tmp_path / "third")]) == 1
    assert "damaged" in capsys.readouterr().err and not (tmp_path / "third").exists()


def test_new_certificate_is_taken_without_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.server.serving._TICKS_PER_LOOK", 1)
    authority = trustme.CA()

    def issue() -> bytes:
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(tmp_path / "key.pem")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
        return issued.cert_chain_pems[0].bytes()

    first = issue()
    with running(tmp_path / "data", tls=(tmp_path / "chain.pem", tmp_path / "key.pem")) as server:
        port = int(server.url.rpartition(":")[2])
        assert served_certificate(port) == first
        second = issue()
        wait_for(lambda: served_certificate(port) == second)
        (tmp_path / "chain.pem").write_text("nonsense")
        time.sleep(0.5)
        assert served_certificate(port) == second


def served_certificate(port: int) -> bytes:
    import ssl

    return ssl.get_server_certificate(("127.0.0.1", port)).encode()


def test_signal_ends_several_processes_and_a_killed_parent_leaves_none(tmp_path):
    data = tmp_path / "data"
    with process(data, "--workers", "2") as (url, started):
        assert HTTP.get(f"{url}/health").status_code == 200
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=30) == 0
    with process(data, "--workers", "2") as (url, started):
        os.kill(started.pid, signal.SIGKILL)
        started.wait(timeout=30)

        def is_gone() -> bool:
            try:
                socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()
            except OSError:
                return True
            return False

        wait_for(is_gone, 30)


def test_metrics_count_over_all_processes(tmp_path):
    data = tmp_path / "data"
    with process(data, "--workers", "2") as (url, _):
        auth = ("vendor", (data / "vendor-password").read_text().strip())
        for _ in range(20):
            httpx.get(f"{url}/health", trust_env=False)
        told = httpx.get(f"{url}/metrics", auth=auth, trust_env=False).text
        (line,) = (
            line
            for line in told.splitlines()
            if line.startswith('gadgetkeeper_requests_total{method="GET",route="/health"')
        )
        assert float(line.split()[-1]) >= 20
        assert HTTP.get(f"{url}/metrics").status_code == 401


@pytest.mark.parametrize("password", ["a", "elevenchars"])
def test_short_password_is_refused_where_others_reach_the_server(tmp_path, monkeypatch, capsys, password):
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", password)
    assert main(["serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert "12" in error and password not in error.split() and not (tmp_path / "data").exists()


def test_nginx_in_front_sends_the_firmware_and_answers_ranges_of_it(tmp_path):
    postgres.require("nginx", bool(shutil.which("nginx") or Path("/usr/sbin/nginx").exists()))
    data = tmp_path / "data"
    with running(data, accel_prefix="/firmware/", proxies="127.0.0.1") as server:
        field = make_field(server, tmp_path)
        device = field.device()
        with world.nginx(tmp_path / "nginx", int(server.url.rpartition(":")[2]), data / "firmware", tmp_path) as port:
            device.url = f"http://127.0.0.1:{port}"
            path = f"/versions/{field.version['id']}/firmware.json"
            raw = {"Accept": "application/octet-stream, application/json;q=0.5"}
            whole = device.call("GET", path, headers=raw)
            assert whole.content == FIRMWARE and whole.headers["ETag"] == f'"{field.version["sha256"]}"'
            assert whole.headers["Content-Type"] == "application/octet-stream"
            assert int(whole.headers["Content-Length"]) == len(FIRMWARE)
            assert "immutable" in whole.headers["Cache-Control"]
            span = {"Range": "bytes=4096-", "If-Range": whole.headers["ETag"]}
            rest = device.call("GET", path, headers=raw | span)
            assert (rest.status_code, rest.content) == (206, FIRMWARE[4096:])
            other = device.call("GET", path, headers=raw | span | {"If-Range": '"other"'})
            assert (other.status_code, other.content) == (200, FIRMWARE)
            assert len(device.call("GET", path).json()) == (len(FIRMWARE) + 2) // 3 * 4
            assert_error(device.call("GET", path, headers=raw | {"X-ApiKey": "0" * 32}), 401, "GK-000-0001")
            assert HTTP.get(f"{device.url}/firmware/{field.version['sha256']}").status_code == 404
            Device(device.url, "S1").activate()
        assert server.vendor.events(subject="S1")[0]["address"] == "127.0.0.1"
