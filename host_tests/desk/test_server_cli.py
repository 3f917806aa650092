"""The server's command line: what a vendor types, rightly and wrongly."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from host_tests.desk.server.images import app
from tools.server import running
from tools.server.cli import main

ROOT = Path(__file__).resolve().parents[2]
APP = app(6000)
COMBINED = bytes([0xE9]) + bytes(0xF000 - 1) + APP


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    monkeypatch.delenv("GADGETKEEPER_SERVER", raising=False)
    monkeypatch.delenv("GADGETKEEPER_PASSWORD", raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("cli") / "data") as server:
        template = server.vendor.create_template("Thermometer")
        product = server.vendor.create_product("Kitchen", template["id"])
        server.vendor.add_serials(product["id"], ["T1", "T2"])
        yield server


@pytest.fixture
def cli(server, monkeypatch, capsys):
    """Runs a command against the server; status, standard output and standard error."""
    monkeypatch.setenv("GADGETKEEPER_SERVER", server.url)
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", server.password)

    def run(*arguments) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def assert_refused(outcome: tuple[int, str, str], status: int, *told: str) -> None:
    assert outcome[0] == status, outcome
    assert outcome[1] == ""
    assert outcome[2].startswith("server: ") and outcome[2].count("\n") == 1 and outcome[2].endswith("\n")
    for text in told:
        assert text in outcome[2]


def test_vendor_sets_up_and_watches_a_device(cli, server, tmp_path):
    (tmp_path / "app.bin").write_bytes(APP)
    (tmp_path / "serials.txt").write_text("S2\nS3\r\n\n")
    commands = [
        ("template", "create", "Scale", "--description", "weighs"),
        ("product", "create", "Bathroom", "--template", "Scale"),
        ("serial", "add", "Bathroom", "S1", "--file", tmp_path / "serials.txt"),
        ("version", "create", "Scale", tmp_path / "app.bin", "--description", "first"),
        ("version", "create", "Scale", tmp_path / "app.bin"),
        ("target", "set", "Scale", "2"),
    ]
    for command in commands:
        status, output, errors = cli(*command)
        assert (status, output.count("\n"), errors) == (0, 1, "")
    thing_id = httpx.put(f"{server.url}/v1/things/activate/S2.json", trust_env=False).json()["thingId"]

    one, two = (line.split("\t") for line in cli("version", "list", "Scale")[1].splitlines())
    assert (one[0], one[2], one[4:]) == ("1", str(len(APP)), ["", "first"])
    assert (two[0], two[2], two[4:]) == ("2", str(len(APP)), ["target", ""])
    things = cli("thing", "list", "--search", "S2")[1]
    # The last column, when it was last seen, is written once in a while.
    assert things.startswith(f"S2\tScale 1\t{thing_id}\t-\t2\tupdate pending\t-\t") and things.count("\n") == 1
    for name in ("S2", "Scale 1", thing_id):
        assert cli("thing", "pin", name, "1")[:2] == (0, "S2: pinned to version 1\n")
        assert "target version\t1 (pinned)\n" in cli("thing", "show", name)[1]
        assert cli("thing", "unpin", name)[0] == 0
    assert "target version\t2\n" in cli("thing", "show", "S2")[1]
    assert cli("serial", "list", "Bathroom")[1] == "S1\nS2\nS3\n"
    assert "Bathroom" in cli("product", "list")[1] and "Scale" in cli("template", "list")[1]


def test_text_from_a_device_sends_no_codes_to_the_terminal(cli, server):
    activated = httpx.put(f"{server.url}/v1/things/activate/T1.json", trust_env=False).json()
    url = f"{server.url}/v1/things/{activated['thingId']}"
    headers = {"X-ApiKey": activated["apiKey"]}
    refused = httpx.put(f"{url}.json", json={"name": "a\x1b[2J\nb"}, headers=headers, trust_env=False)
    assert refused.status_code == 400 and "\x1b" not in refused.text
    assert httpx.put(f"{url}.json", json={"description": "a\nb"}, headers=headers, trust_env=False).status_code == 204
    httpx.put(f"{url}/properties/p/value.json", json="\x1b[2J", headers=headers, trust_env=False)
    shown = cli("thing", "show", "T1")[1]
    assert "description\ta?b\n" in shown and "\x1b" not in shown


@pytest.fixture(scope="module")
def lamp(server):
    """The serial number of another product."""
    template = server.vendor.create_template("Lamp")
    server.vendor.add_serials(server.vendor.create_product("Lamp", template["id"])["id"], ["L1"])
    return "L1"


@pytest.fixture
def device(server, lamp):
    """Writes properties as the lamp does, which has just been activated."""
    activated = httpx.put(f"{server.url}/v1/things/activate/{lamp}.json", trust_env=False).json()

    def write(property_id, value) -> None:
        url = f"{server.url}/v1/things/{activated['thingId']}/properties/{property_id}/value.json"
        httpx.put(url, json=value, headers={"X-ApiKey": activated["apiKey"]}, trust_env=False).raise_for_status()

    write.thing_id = activated["thingId"]
    write.headers = {"X-ApiKey": activated["apiKey"]}
    return write


def test_last_update_is_listed_as_the_device_tells_it(cli, device, tmp_path):
    (tmp_path / "app.bin").write_bytes(APP)
    cli("version", "create", "Lamp", tmp_path / "app.bin")
    name, version_id = cli("version", "list", "Lamp")[1].splitlines()[-1].split("\t")[:2]
    for told, shown in (
        ({"phase": "given up", "versionId": version_id, "attempt": 3, "code": "rolled_back"}, "3, rolled_back"),
        ({"phase": "installed", "versionId": version_id, "attempt": 1, "code": None}, "1"),
    ):
        device("status", told)
        line = f"{told['phase']}: version {name}, attempt {shown}"
        assert f"\t{line}\t" in cli("thing", "list")[1].splitlines()[0]
        assert f"last update\t{line}\n" in cli("thing", "show", "L1")[1]
    for odd in (5, [], {"phase": "installed"}, {"phase": "x\x1b[2J", "versionId": {}, "attempt": []}):
        device("status", odd)
        assert cli("thing", "list")[0] == 0 and "\x1b" not in cli("thing", "list")[1]


def test_deleted_thing_is_gone_with_its_key_and_its_serial_number_makes_a_new_one(cli, server, device):
    device("temperature", 21.5)
    status, output, _ = cli("thing", "delete", "L1")
    assert status == 0 and device.thing_id in output and "L1" not in cli("thing", "list")[1]
    url = f"{server.url}/v1/things/{device.thing_id}.json"
    assert httpx.get(url, headers=device.headers, trust_env=False).status_code == 401
    assert_refused(cli("thing", "delete", "L1"), 1, "no thing 'L1'")
    again = httpx.put(f"{server.url}/v1/things/activate/L1.json", trust_env=False).json()
    assert again["thingId"] != device.thing_id
    assert server.vendor.thing("L1")["properties"] == {}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("", "COMMAND"),
        ("nonsense", "nonsense"),
        ("thing", "COMMAND"),
        ("thing show", "THING"),
        ("product create P", "--template"),
        ("serial add Kitchen", "no serial number"),
        ("serial add Kitchen --file missing.txt", "missing.txt"),
        ("version create Thermometer missing.bin", "missing.bin"),
        ("serve --port 65536", "65536"),
        ("serve --port x", "'x'"),
        ("serve --firmware-form zip", "zip"),
        ("--server here thing list", "here"),
        ("--server http://127.0.0.1:port thing list", "127.0.0.1:port"),
        ("thing list --password-file missing", "missing"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(cli, command, told):
    assert_refused(cli(*command.split()), 2, told)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("thing show T2", "T2"),
        ("product create Kitchen --template Thermometer", "Kitchen already"),
        ("product create Other --template Unknown", "no template 'Unknown'"),
        ("serial add Kitchen T1 T3", "'T1'"),
        ("serial add Kitchen a/b", "'a/b'"),
        ("serial list Unknown", "no product 'Unknown'"),
        ("target set Thermometer 9", "no version '9'"),
        ("--server http://127.0.0.1:1 thing list", "127.0.0.1:1"),
    ],
)
def test_refusal_is_one_line_and_status_1(cli, command, told):
    assert_refused(cli(*command.split()), 1, told)


def test_combined_image_is_not_published(cli, tmp_path):
    path = tmp_path / "combined.bin"
    for content, told in (
        (COMBINED, "make publish takes the app out"),
        (b"no image", "no ESP32 image"),
        (b"", "empty"),
    ):
        path.write_bytes(content)
        assert_refused(cli("version", "create", "Thermometer", path), 1, told)
    assert cli("version", "list", "Thermometer")[1] == ""


def test_password_is_needed_and_must_be_right(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", "guess")
    assert_refused(cli("thing", "list"), 1, "password is wrong")
    monkeypatch.delenv("GADGETKEEPER_PASSWORD")
    monkeypatch.chdir(tmp_path)  # where no server has left its password
    assert_refused(cli("thing", "list"), 2, "--password-file")


def test_other_server_at_the_address_is_said(cli, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tools.server",
                "--server",
                f"http://127.0.0.1:{other.getsockname()[1]}",
                "thing",
                "list",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = other.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
            outcome = process.communicate(timeout=10)
    assert_refused((process.returncode, *outcome), 1, "not answer like GadgetKeeper")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_and_ends_on_a_signal(tmp_path, number):
    command = [sys.executable, "-m", "tools.server", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    command += ["--port-file", str(tmp_path / "port"), "--firmware-form", "string"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GADGETKEEPER")}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        port = (tmp_path / "port").read_text().strip()
        assert f"http://127.0.0.1:{port}," in line and str(tmp_path / "data" / "vendor-password") in line
        password = (tmp_path / "data" / "vendor-password").read_text().strip()
        url = f"http://127.0.0.1:{port}/v1/things.json"
        assert httpx.get(url, auth=("vendor", password), trust_env=False).json() == []
        process.send_signal(number)
        assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


def test_server_that_cannot_start_says_why(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status = main(["serve", "--port", str(taken.getsockname()[1]), "--data", str(tmp_path / "data")])
        assert_refused((status, *capsys.readouterr()), 1, "cannot listen", "in use")
    assert not (tmp_path / "data").exists()
    (tmp_path / "file").write_text("")
    status = main(["serve", "--port", "0", "--data", str(tmp_path / "file")])
    assert_refused((status, *capsys.readouterr()), 1, "data directory", str(tmp_path / "file"))
    (tmp_path / "gadgetkeeper.sqlite").write_text("not a database, but long enough to be looked at " * 100)
    status = main(["serve", "--port", "0", "--data", str(tmp_path)])
    assert_refused((status, *capsys.readouterr()), 1, "data directory", "not a database")


def test_password_of_ones_own(tmp_path, capsys):
    (tmp_path / "password").write_text("ungewöhnlich: ja\n")
    with running(tmp_path / "data", password="ungewöhnlich: ja") as server:
        options = ["--server", server.url, "--password-file", str(tmp_path / "password")]
        assert main([*options, "template", "create", "T"]) == 0
        assert main(["template", "list", *options]) == 0
    assert capsys.readouterr()[1] == ""
    assert not (tmp_path / "data" / "vendor-password").exists()


def test_password_that_is_nowhere_is_said_with_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GADGETKEEPER_PASSWORD", raising=False)
    assert_refused((main(["thing", "list"]), *capsys.readouterr()), 2, "No such file", "make server", "PASSWORD_FILE=…")
