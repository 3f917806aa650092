"""Publishing: what reaches the server is what a device will take, once, under the name that the vendor expects."""

import functools
import hashlib
import shlex
import sys

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from host_tests.desk.test_factory import BAD_PRODUCT_CODE
from host_tests.fakes.records import copy_records
from tools import espressif, factory, firmware, ondevice, publish, release, server
from tools.twin.image import bundle_files, make_image

SLOT_BYTES = factory.place("ota_1", factory.LAYOUT).size
EPOCH_2000_S = 946684800  # 2000-01-01, from which a device counts
BOOTLOADER = make_image(9, magic=0)


@functools.cache
def small_release(number: int, seed: int = 0, size_bytes: int = 9000) -> bytes:
    """The release of this number with a real bundle, on noise that calls itself MicroPython; each seed's is another."""
    noise = bytearray(make_image(number * 100 + seed, size_bytes))
    noise[1] = 2  # segments: the first two, without its bundle
    end = release._segments_end(noise)
    noise[end - 20 : end] = b"MicroPython v1.27.0\0"
    contents = release.Contents(number)
    return release.add_bundle(
        release.seal(bytes(noise[:end])), release.bundle(bundle_files(number)), contents, "1.27.0"
    )


APP, OTHER = small_release(1), small_release(1, seed=1)

SIGNER = """
import sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
key = serialization.load_pem_private_key(open({key!r}, "rb").read(), None)
pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
open(sys.argv[2], "wb").write(key.sign(open(sys.argv[1], "rb").read(), pss, hashes.SHA256()))
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "two"):
        key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.pem").write_bytes(key.private_bytes(*kinds))
        (folder / f"{name}.pub.pem").write_bytes(espressif.public_key(folder / f"{name}.pem"))
    return folder


def make_template(running) -> dict:
    return running.vendor.create_template("Thermometer")


@pytest.fixture
def running(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "FOLDER", tmp_path / "publish")
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    template = copy_records(tmp_path / "server", make_template)
    with server.running(tmp_path / "server") as running:
        monkeypatch.setenv("GADGETKEEPER_SERVER", running.url)
        monkeypatch.setenv("GADGETKEEPER_PASSWORD", running.password)
        running.template = template
        yield running


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command behind `make publish`; status, standard output, standard error."""
    firmware_file = tmp_path / "firmware.bin"

    def run(*arguments, content=None, version="1", **options):
        if content is None:
            content = small_release(int(version)) if version.isdigit() and version != "0" else APP
        firmware_file.write_bytes(content)
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        outcome = publish.main([*arguments, f"--version={version}", f"--firmware={firmware_file}", *words])
        return outcome, *capsys.readouterr()

    return run


def refused(outcome, status, *told) -> None:
    assert outcome[0] == status, outcome
    assert outcome[2].count("\n") == 1 and outcome[2].startswith("publish: "), outcome
    for text in told:
        assert text in outcome[2], outcome[2]


def versions(running) -> list[dict]:
    return running.vendor.versions(running.template["id"])


def stored(running, tmp_path, name) -> bytes:
    sha256 = next(version["sha256"] for version in versions(running) if version["name"] == name)
    return (tmp_path / "server" / "firmware" / sha256).read_bytes()


def check(content, keys, name) -> None:
    ondevice.check_firmware(content, bytes(40), SLOT_BYTES, [espressif.key_digest(keys / f"{name}.pem")], "Thermometer")


def target(running) -> str | None:
    found = running.vendor.templates()[0]["targetVersion"]
    return found and found["name"]


def test_app_of_an_official_combined_image_is_published_and_made_the_target(running, run, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH_2000_S + 5))
    whole = firmware.combined_image("1.27.0").read_bytes()
    status, output, errors = run("--target", content=whole, description="second")
    assert (status, errors) == (0, "")
    assert "not signed: devices that were made with a SIGNING_KEY will refuse it" in output
    made = release.make_release(firmware.app_image("1.27.0"), release.Contents(1, built_at=5))
    assert stored(running, tmp_path, "1") == made and "release 1 of Thermometer on MicroPython 1.27.0" in output
    assert (target(running), versions(running)[0]["description"]) == ("1", "second")


def test_signed_firmware_is_what_a_device_with_that_key_takes(running, run, tmp_path, keys):
    status, output, _ = run(signing_key=keys / "one.pem")
    assert status == 0 and espressif.key_digest(keys / "one.pem") in output and target(running) is None
    check(stored(running, tmp_path, "1"), keys, "one")
    with pytest.raises(ondevice.Refused, match="none of signing_keys"):
        check(stored(running, tmp_path, "1"), keys, "two")


def test_version_published_without_this_signature_is_not_taken_for_it(running, run, keys):
    assert run()[0] == 0
    refused(run("--target", signing_key=keys / "one.pem"), 1, "another signature or none", "VERSION=2")
    assert target(running) is None
    assert run(version="2", signing_key=keys / "one.pem")[0] == 0
    refused(run(version="2", signing_key=keys / "two.pem"), 1, "another signature or none", "VERSION=3")
    status, output, _ = run(version="2", signing_key=keys / "one.pem")
    assert status == 0 and f"with this firmware: {versions(running)[1]['id']}" in output


@pytest.mark.parametrize("form", ["", " {image} {signature}"])
def test_external_signer_with_the_public_key(running, run, tmp_path, keys, form):
    script = tmp_path / "sign.py"
    script.write_text(SIGNER.format(key=str(keys / "one.pem")))
    command = shlex.join([sys.executable, str(script)]) + form
    assert run(sign_command=command, signing_key=keys / "one.pub.pem")[0] == 0
    check(stored(running, tmp_path, "1"), keys, "one")


def test_external_signer_that_makes_the_whole_signed_image(running, run, tmp_path, keys):
    tool = [sys.executable, "-m", "espsecure", "sign-data", "--version", "2"]
    command = shlex.join([*tool, "--keyfile", str(keys / "two.pem"), "--output", "{signed}", "{image}"])
    assert run(sign_command=command)[0] == 0
    check(stored(running, tmp_path, "1"), keys, "two")


@pytest.mark.parametrize(
    "command, told",
    [
        ("false", "ended with status 1"),
        ("true", "has not written the file that {signature} stands for"),
        ("cp {image} {signature}", "espsecure does not sign"),
        ("no-such-command", "cannot be run"),
        ("cp {image} {signed}", "has signed another image"),
    ],
)
def test_external_signer_that_fails(running, run, keys, command, told):
    refused(run(sign_command=command, signing_key=keys / "one.pub.pem"), 1, told)
    assert versions(running) == []


def test_signer_with_another_key_than_named_is_noticed(running, run, tmp_path, keys):
    (tmp_path / "sign.py").write_text(SIGNER.format(key=str(keys / "two.pem")))
    command = shlex.join([sys.executable, str(tmp_path / "sign.py")])
    refused(run(sign_command=command, signing_key=keys / "one.pub.pem"), 1, "espsecure does not sign")
    tool = [sys.executable, "-m", "espsecure", "sign-data", "--version", "2"]
    command = shlex.join([*tool, "--keyfile", str(keys / "two.pem"), "--output", "{signed}", "{image}"])
    refused(run(sign_command=command, signing_key=keys / "one.pub.pem"), 1, "none of signing_keys")
    assert versions(running) == []


def test_firmware_that_came_signed_keeps_its_signature(running, run, tmp_path, keys):
    signed = espressif.sign(APP, keys / "one.pem")
    status, output, _ = run(content=signed)
    assert status == 0 and f"it came signed with key {espressif.key_digest(keys / 'one.pem')}" in output
    assert stored(running, tmp_path, "1") == signed
    refused(run(content=signed, version="2"), 1, "is release 1, and VERSION=2 was asked for")
    signed = espressif.sign(small_release(2), keys / "one.pem")
    assert run(content=signed, version="2", signing_key=keys / "two.pem")[0] == 0
    check(stored(running, tmp_path, "2"), keys, "two")


def test_version_that_is_not_the_next_is_refused_before_anything_is_sent(running, run):
    assert run()[0] == 0
    refused(run(version="3"), 1, "the next version of Thermometer is 2, not 3")
    refused(run(content=OTHER, version="1"), 1, "published already, with another firmware", "VERSION=2")
    assert len(versions(running)) == 1


@pytest.mark.parametrize("key", [None, "one.pem"])
@pytest.mark.parametrize("call", ["create_version", "set_target"])
def test_repeated_after_an_interruption_nothing_is_published_twice(running, run, monkeypatch, keys, key, call):
    signing = {"signing_key": keys / key} if key else {}

    def cut(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish.Vendor, call, cut)
        refused(run("--target", **signing), 1, "interrupted")
    assert target(running) is None
    assert run("--target", **signing)[0] == 0
    assert target(running) == "1" and len(versions(running)) == 1


@pytest.mark.parametrize("key", [None, "one.pem"])
def test_answer_that_was_lost_does_not_publish_twice(running, run, monkeypatch, keys, key):
    signing = {"signing_key": keys / key} if key else {}
    create = publish.Vendor.create_version

    def lose(*arguments):
        create(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish.Vendor, "create_version", lose)
        refused(run("--target", **signing), 1, "interrupted")
    status, output, _ = run("--target", **signing)
    assert status == 0 and "published already, with this firmware" in output
    assert target(running) == "1" and len(versions(running)) == 1


@pytest.mark.parametrize(
    "content, told",
    [
        (firmware.combined_image("1.27.0-esp32s3"), "is for the ESP32-S3"),
        (b"nonsense", "is no ESP32 image"),
        (APP[:-1], "damaged"),
        (make_image(1, hashed=0), "no SHA-256"),
        (BOOTLOADER, "neither a combined ESP32 image nor an app image"),
        (APP + b"\xff" * 17, "a device would refuse it: the firmware is"),
        (
            small_release(1, size_bytes=SLOT_BYTES),
            f"the firmware is larger than the slot's {SLOT_BYTES}",
        ),
    ],
)
def test_what_a_device_would_refuse_is_not_published(running, run, content, told):
    content = content if isinstance(content, bytes) else content.read_bytes()
    refused(run(content=content), 1, told)
    assert versions(running) == []


@pytest.mark.parametrize("name, code, told", BAD_PRODUCT_CODE)
def test_product_code_that_no_board_could_run(running, run, tmp_path, name, code, told):
    folder = tmp_path / "lamp"
    folder.mkdir()
    if name != "lamp.txt":
        (folder / "lamp.py").touch()
    (folder / name).write_text(code)
    refused(run(content=firmware.combined_image("1.27.0").read_bytes(), app=folder), 1, told)
    assert versions(running) == []


def test_image_for_bigger_flashes_is_published_when_that_is_said(running, run):
    assert run(content=small_release(1, size_bytes=SLOT_BYTES), flash_size="8MB")[0] == 0


def test_vendor_is_told_when_boards_made_with_smaller_slots_will_refuse_it(running, run):
    told = f"have slots of {factory.FORMER_SLOT_BYTES} bytes and will refuse it"
    status, output, _ = run(content=small_release(1, size_bytes=factory.FORMER_SLOT_BYTES - 16_384))
    assert status == 0 and told not in output
    status, output, _ = run(content=small_release(2, size_bytes=factory.FORMER_SLOT_BYTES), version="2")
    assert status == 0 and told in output


def test_wrong_arguments_are_one_line_and_status_2(running, run, keys, monkeypatch):
    for version in ("", "0", "two", "1.28.0", "01"):
        refused(run(version=version), 2, "is no version")
    refused(run(signing_key="missing.pem"), 2, "missing.pem")
    refused(run(sign_command="true"), 2, "SIGNING_KEY=…")
    refused(run(sign_command="'", signing_key=keys / "one.pub.pem"), 2, "SIGN_COMMAND")
    refused(run(server="here"), 2, "no address")
    refused(run(floor="two"), 2, "'two' is no release's number (FLOOR=…)")
    refused(run(new_server="http://192.168.1.2:99999"), 2, "they go from 1 to 65535")
    refused(run(new_server="http://localhost:8080"), 2, "is every board for itself")
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", "guess")
    refused(run(), 1, "password is wrong")


def test_public_key_does_not_sign(running, run, keys):
    refused(run(signing_key=keys / "one.pub.pem"), 1, "espsecure does not sign")


def test_template_must_be_clear(running, run, tmp_path):
    running.vendor.create_template("Scale")
    refused(run(), 1, "there are 2 templates, name one of Scale, Thermometer: TEMPLATE=…")
    refused(run(template="Clock"), 1, "no template 'Clock'")
    assert run(template="Thermometer")[0] == 0
    assert hashlib.sha256(APP).hexdigest() == versions(running)[0]["sha256"]


def test_server_without_a_template_and_no_server(tmp_path, run, monkeypatch):
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", "secret")
    refused(run(server="http://127.0.0.1:1"), 1, "no answer from http://127.0.0.1:1")
    with server.running(tmp_path / "server", password="secret") as running:
        refused(run(server=running.url), 1, "there is no template yet")


def test_somebody_elses_version_at_the_same_moment_does_not_become_the_target(running, run, monkeypatch):
    listed = publish.Vendor.versions

    def then_another(vendor, template_id):
        found = listed(vendor, template_id)
        monkeypatch.setattr(publish.Vendor, "versions", listed)
        running.vendor._call("POST", f"/v1/templates/{template_id}/versions.json", content=OTHER)
        return found

    monkeypatch.setattr(publish.Vendor, "versions", then_another)
    refused(run("--target"), 1, "somebody else has published", "version 2, not 1")
    assert target(running) is None


def test_what_each_kind_of_device_will_download_is_told_before_the_version_is_the_target(run, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "FOLDER", tmp_path / "publish")
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    with server.running(tmp_path / "patching", patch_bases=4) as running:
        monkeypatch.setenv("GADGETKEEPER_SERVER", running.url)
        monkeypatch.setenv("GADGETKEEPER_PASSWORD", running.password)
        vendor = running.vendor
        template = vendor.create_template("Thermometer")
        vendor.add_serials(vendor.create_product("Thermometer", template["id"])["id"], ["S1"])
        assert run(version="1")[0] == 0
        thing = httpx.put(f"{running.url}/v1/things/activate/S1.json", trust_env=False).json()
        first = vendor.versions(template["id"])[0]["id"]
        path = f"{running.url}/v1/things/{thing['thingId']}/versions/{first}.json"
        httpx.put(path, headers={"X-ApiKey": thing["apiKey"]}, trust_env=False).raise_for_status()
        status, out, err = run("--target", version="2")
        assert status == 0, err
        told = out.partition("what a device will download of ")[2].splitlines()
        downloads = vendor.downloads(template["id"], vendor.versions(template["id"])[1]["id"])
        assert [each["runs"] for each in downloads] == ["1", None] and all(each["ready"] for each in downloads)
        assert told[1].startswith(f"  1 on version 1: {downloads[0]['sizeBytes']:,} bytes, "), told
        assert told[2].startswith(f"  any other: {downloads[1]['sizeBytes']:,} bytes, ")
        assert told[3] == "  one that knows no patches: all of it" and told[4].startswith("target of"), told
