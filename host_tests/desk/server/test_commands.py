"""The vendor's commands for a fleet: what they ask for, what they refuse, in one line."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from host_tests.desk.server.images import app
from host_tests.desk.server.rig import HTTP, Device, publish
from tools import espressif
from tools.factory.record import FLASHED, STARTED, Record
from tools.server import VendorError
from tools.server.model import sha256_hex

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def field(fields, tmp_path_factory):
    with fields.open(tmp_path_factory.mktemp("commands")) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain", "{0}1\n{0}2\n\n"),
        ("windows", "{0}1\r\n{0}2\r\n"),
        ("header", "name,Serial\nx,{0}1\ny,{0}2\n"),
        ("bom", "\ufeffserial\n{0}1\n{0}2\n"),
        ("semicolons", "\ufeffserial;note\n{0}1;first, best\n{0}2;\n"),
    ],
)
def test_serial_numbers_come_from_the_file_that_batch_reads(cli, field, tmp_path, name, text):
    path = tmp_path / "serials.csv"
    path.write_text(text.format(name), encoding="utf-8")
    assert cli("serial", "add", "Kitchen", "--file", path) == (0, "2 serial numbers added to Kitchen\n", "")
    assert {f"{name}1", f"{name}2"} <= set(field.server.vendor.serials(field.product["id"]))


def test_file_with_wrong_lines_names_them_and_adds_nothing(cli, field, tmp_path):
    path = tmp_path / "serials.csv"
    path.write_text("OK1\na/b\nOK1\n")
    status, output, error = cli("serial", "add", "Kitchen", "--file", path)
    assert (status, output, error.count("\n")) == (2, "", 1)
    assert "line 2" in error and "line 3" in error
    assert "OK1" not in field.server.vendor.serials(field.product["id"])


def test_one_thing_is_asked_for_alone(cli, field, monkeypatch):
    device = field.device("S1")
    asked = []
    send = httpx.Client.request
    monkeypatch.setattr(httpx.Client, "request", lambda self, *a, **k: asked.append((a, k)) or send(self, *a, **k))
    device.write('{"a": [true, null]}', "mode")
    for name in ("S1", device.thing_id, field.server.vendor.thing("S1")["name"]):
        status, output, _ = cli("thing", "show", name)
        assert status == 0 and 'property mode\t{"a": [true, null]}\n' in output and "last seen\t" in output
    of_things = [k.get("params") or {} for a, k in asked if a[1] == "/v1/things.json"]
    assert of_things and all("serialNumber" in params or "name" in params for params in of_things)


def test_boards_are_blocked_and_serial_numbers_removed(cli, field):
    device = field.device("S2")
    assert cli("serial", "block", "S2")[0] == 0 and device.poll().status_code == 401
    assert cli("serial", "unblock", "S2")[0] == 0 and device.activate().status_code == 200
    assert cli("serial", "remove", "S2")[0] == 1
    assert cli("serial", "remove", "S4") == (0, "S4: removed\n", "")
    assert "serial number blocked\tS2" in cli("events", "--subject", "S2")[1]


def test_secrets_come_from_the_record_the_last_of_each_board_and_of_no_lost_one(cli, field, tmp_path):
    field.server.vendor.add_serials(field.product["id"], ["R1", "R2", "R3"])
    record = Record(tmp_path / "record.jsonl")
    record.add("R1", "mac1", "0" * 64, FLASHED, secret_sha256=sha256_hex("old"))
    record.add("R1", "mac1", "0" * 64, FLASHED, secret_sha256=sha256_hex("new"))
    record.add("R2", "mac2", "0" * 64, FLASHED)
    record.add("R3", "mac3", "0" * 64, STARTED, secret_sha256=sha256_hex("lost"))
    record.release("R3")
    assert cli("serial", "secrets", record.path) == (0, "device secret of R1 registered\n", "")
    assert [field.server.vendor.serial(name)["hasSecret"] for name in ("R1", "R2", "R3")] == [True, False, False]
    assert [Device(field.server.url, "R1").activate(secret).status_code for secret in ("old", "new")] == [403, 200]
    record.add("R4", "mac4", "0" * 64, FLASHED, secret_sha256=sha256_hex("x"))
    status, _, error = cli("serial", "secrets", record.path)
    assert status == 1 and error == "server: The serial number R4 is not registered\n"
    (tmp_path / "text").write_text("hello")
    status, _, error = cli("serial", "secrets", tmp_path / "text")
    assert status == 2 and error.count("\n") == 1 and "is no flash image" in error


def test_secret_is_required_by_a_word(cli, field):
    assert cli("product", "create", "Hall", "--template", "Thermometer", "--require-secret")[0] == 0
    assert "Hall" in cli("product", "list")[1] and "required" in cli("product", "list")[1]
    cli("serial", "add", "Hall", "H1")
    assert Device(field.server.url, "H1").activate().status_code == 403
    assert cli("product", "require-secret", "Hall", "no")[0] == 0
    assert Device(field.server.url, "H1").activate().status_code == 200


def test_password_of_a_new_vendor_lies_in_a_file_of_its_own(cli, field, tmp_path):
    path = tmp_path / "bert"
    status, output, _ = cli("vendor", "add", "bert", "--out", path)
    password = path.read_text().strip()
    assert status == 0 and password not in output and path.stat().st_mode & 0o777 == 0o600
    assert HTTP.get(f"{field.server.url}/v1/products.json", auth=("bert", password)).status_code == 200
    assert cli("vendor", "add", "carl", "--out", path)[0] == 2  # the file is kept
    assert path.read_text().strip() == password
    assert cli("vendor", "add", "Not a name", "--out", tmp_path / "new")[0] == 1
    assert not (tmp_path / "new").exists()
    assert "bert" in cli("vendor", "list")[1]
    assert cli("vendor", "remove", "bert")[0] == 0


def test_unsigned_version_after_a_signed_one_needs_force(cli, field, tmp_path):
    template = field.template
    key = tmp_path / "key.pem"
    private = rsa.generate_private_key(65537, 3072)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    signed_app = espressif.sign(app(8192), key)
    signed = publish(field.server, template, tmp_path, signed_app)
    unsigned = publish(field.server, template, tmp_path, app(8192))
    assert (signed["signed"], unsigned["signed"]) == (True, False)
    assert cli("target", "set", "Thermometer", signed["name"])[0] == 0
    status, _, error = cli("target", "set", "Thermometer", unsigned["name"])
    assert status == 1 and "not signed" in error
    field.device("S3")
    assert cli("thing", "pin", "S3", unsigned["name"])[0] == 1
    assert cli("thing", "pin", "S3", unsigned["name"], "--force")[0] == 0
    assert cli("target", "set", "Thermometer", unsigned["name"], "--force")[0] == 0
    damaged = bytearray(signed_app)
    damaged[100] ^= 1
    with pytest.raises(VendorError, match="is no firmware"):
        publish(field.server, template, tmp_path, bytes(damaged))
    other = bytearray(signed_app)
    other[-4000] ^= 1  # in the signature
    with pytest.raises(VendorError, match="is no firmware"):
        publish(field.server, template, tmp_path, bytes(other))
    assert cli("version", "remove", "Thermometer", signed["name"])[0] == 0


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "\u202eevil", "tab\tbed", " "])
def test_names_that_would_play_with_a_terminal_are_refused_and_not_echoed(cli, name):
    status, output, error = cli("template", "create", name)
    assert (status, output, error.count("\n")) == (1, "", 1)
    assert not set(name) & set("\x1b\u202e\t") & set(error)
    status, output, error = cli("thing", "show", name)
    assert (status, output, error.count("\n")) == (1, "", 1)
    assert "\x1b" not in error and "\u202e" not in error


def test_reader_that_has_seen_enough_is_no_error(field):
    command = f"{sys.executable} -m tools.server --server {field.server.url} thing list | head -c 1"
    environment = {"GADGETKEEPER_PASSWORD": field.server.password, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
