"""What leaves the factory: read by the tools of others, booted unchanged by the twin, and refused in time."""

import functools
import json
import re
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import espsecure
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from esptool.bin_image import LoadFirmwareImage
from hypothesis import given
from hypothesis import strategies as st
from littlefs import LittleFS

from tools import agent, espressif, factory, firmware, ondevice, release, server
from tools.factory.__main__ import main
from tools.twin.__main__ import insert_image, is_done
from tools.twin.device import Twin

SERIAL = "THERM00000000000001"
COMBINED = firmware.combined_image("1.27.0")
S3 = firmware.combined_image("1.27.0-esp32s3")
PASSWORD = "not to be seen"
WIFI = "Zu Hause € 😀"
RELAY = factory.ROOT / "docs" / "examples" / "relay"
BAD_PRODUCT_CODE = [
    ("lamp.txt", "", "lamp holds no lamp.py, the module that the agent calls"),
    ("lamp.py", "def run(:\n", "lamp.py cannot be compiled"),
    ("main.py", "", "the agent has a main.py of its own: rename yours"),
    ("manifest.json", "{}", "the agent has a manifest.json of its own"),
    ("urequests.py", "", "the agent has a urequests.py of its own"),
]


@functools.cache
def release_on(micropython: str, number: int) -> bytes:
    """The release of this number on this MicroPython, as it is published."""
    return release.make_release(firmware.app_image(micropython), release.Contents(number))


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    monkeypatch.setenv("WIFI_PASSWORD", PASSWORD)


@pytest.fixture
def make(tmp_path, capsys):
    """Runs the command behind `make factory`; status, standard output, standard error. The image is at `make.out`."""

    def run(*arguments, **options):
        given = {"serial": SERIAL, "firmware": COMBINED, "server": "http://127.0.0.1:8080", "wifi_ssid": WIFI}
        given |= {"out": run.out, **options}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
        return main(["factory", *run.allowed, *words, *arguments]), *capsys.readouterr()

    run.out = tmp_path / "made" / "image.bin"
    run.allowed = ["--allow-localhost"]
    return run


@pytest.fixture
def real(make):
    """The same for a board that is none of this computer's."""

    def run(**options):
        make.allowed = []
        return make(**options)

    return run


def refused(outcome, status, *told) -> None:
    assert outcome[0] == status, outcome
    assert outcome[1] == "" and outcome[2].count("\n") == 1 and outcome[2].startswith("factory: "), outcome
    for text in told:
        assert text in outcome[2], outcome[2]


def made(make, **options) -> bytes:
    outcome = make(**options)
    assert outcome[0] == 0, outcome
    return make.out.read_bytes()


def config_of(image: bytes) -> dict:
    return json.loads(factory.read_files(image)["/config.json"])


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The vendor's RSA-3072 key, private and public, and what espsecure says of it."""
    folder = tmp_path_factory.mktemp("keys")
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    (folder / "key.pem").write_bytes(pem(private))
    (folder / "key.pub.pem").write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with (folder / "key.pub.pem").open("rb") as file:
        espsecure.digest_sbv2_public_key(file, str(folder / "digest"))
    return folder


def pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# the image


@pytest.mark.parametrize(
    "size, flash_bytes, slot_bytes, nibble",
    [("4MB", 4 << 20, 0x1D0000, 2), ("8MB", 8 << 20, 0x270000, 3), ("16MB", 16 << 20, 0x270000, 4)],
)
def test_every_part_is_read_by_the_tools_of_others(make, size, flash_bytes, slot_bytes, nibble):
    image = made(make, flash_size=size)
    assert len(image) == flash_bytes
    boot = LoadFirmwareImage("esp32", image[0x1000:0x8000])
    assert boot.calc_digest == boot.stored_digest and boot.checksum == boot.calculate_checksum()
    assert boot.flash_size_freq >> 4 == nibble and boot.flash_mode == 2  # DIO, as the official image has it
    app = LoadFirmwareImage("esp32", image[0x10000 : 0x10000 + slot_bytes])
    assert app.calc_digest == app.stored_digest
    assert image[0x10000:].startswith(release_on("1.27.0", 1))
    start = 0x10000 + 2 * slot_bytes
    vfs = image[start:]
    lfs = LittleFS(block_size=4096, block_count=len(vfs) // 4096, mount=False)
    lfs.context.buffer[:] = vfs
    lfs.mount()
    assert lfs.fs_stat().disk_version == 0x00020000 and lfs.fs_stat().block_count == len(vfs) // 4096
    assert lfs.open("/serial.txt").read() == SERIAL + "\n"
    assert image[0x9000:0x10000] == b"\xff" * 0x7000, "nvs, otadata and phy_init are the chip's own"
    assert image[0x10000 + slot_bytes : start] == b"\xff" * slot_bytes


def test_boot_loader_is_the_official_one_to_the_byte(make):
    assert made(make)[0x1000:0x8000] == COMBINED.read_bytes()[:0x7000]


def test_parts_of_a_table_neither_overlap_nor_leave_the_flash():
    for size_bytes in factory.FLASH_SIZES.values():
        end = 0x9000
        for label, kind, _, address, size in factory.layout(size_bytes):
            assert address == end and size % 4096 == 0, label
            assert kind or address % 0x10000 == 0, "apps begin at whole 64 KiB"
            end = address + size
        assert end == size_bytes


def test_image_that_was_made_with_the_former_table_is_read_by_its_own():
    """A batch that lies there is flashed with the next release of these tools."""
    image = factory.flash_image(COMBINED, {"/serial.txt": b"A1\n"}, partitions=factory.FORMER_LAYOUT)
    assert factory.read_table(image) == factory.FORMER_LAYOUT != factory.LAYOUT
    assert factory.read_files(image) == {"/serial.txt": b"A1\n"}


def test_the_table_ends_with_the_md5_that_the_boot_loader_checks():
    import hashlib

    table = factory.partition_table()
    assert len(table) == 32 * 7 and table[192:208] == b"\xeb\xeb" + b"\xff" * 14
    assert table[208:] == hashlib.md5(table[:192]).digest()


def test_agent_is_compiled_for_the_images_micropython(make):
    image = made(make)
    files = release.read_release(image[0x10000:], "ota_0").files
    compiled = agent.compiled_files("1.27.0")
    assert {path: content for path, content in files.items() if path != "/manifest.json"} == compiled
    assert not [path for path in files if path.endswith(".py")]
    assert sorted(factory.read_files(image)) == ["/boot.py", "/config.json", "/main.py", "/serial.txt"]


def test_app_and_boot_loader_in_files_of_their_own_make_the_same(make, tmp_path):
    whole = COMBINED.read_bytes()
    (tmp_path / "app.bin").write_bytes(firmware.app_image("1.27.0"))
    (tmp_path / "boot.bin").write_bytes(whole[:0x7000])
    image = made(make, firmware=tmp_path / "app.bin", bootloader=tmp_path / "boot.bin")
    assert image[:0x200000] == made(make)[:0x200000]


def test_app_that_is_no_micropython_is_refused(make, tmp_path):
    app = bytearray(firmware.app_image("1.27.0"))
    while (at := app.find(b"MicroPython v")) >= 0:
        app[at : at + 11] = b"MacroPython"
    body = app[:-32]
    checksum = 0xEF
    at = 24
    for _ in range(app[1]):
        length = struct.unpack_from("<I", app, at + 4)[0]
        for byte in app[at + 8 : at + 8 + length]:
            checksum ^= byte
        at += 8 + length
    body[-1] = checksum
    import hashlib

    path = tmp_path / "changed.bin"
    path.write_bytes(COMBINED.read_bytes()[:0xF000] + bytes(body) + hashlib.sha256(body).digest())
    refused(make(firmware=path), 1, "changed.bin: the app is no MicroPython: take an official image for the ESP32")


def test_settings_are_what_was_asked_for(make, tmp_path, keys):
    ca = trustme.CA()
    pem_bytes = ca.cert_pem.bytes()
    (tmp_path / "ca.pem").write_bytes(b"some text\n" + pem_bytes + pem_bytes)
    der = x509.load_pem_x509_certificate(pem_bytes).public_bytes(serialization.Encoding.DER)
    (tmp_path / "ca.der").write_bytes(der)
    (tmp_path / "more.json").write_text('{"report_interval_s": 5, "wifi": [["second", ""]], "server": "http://other"}')
    before = datetime.now(UTC) - timedelta(seconds=1)
    for name, count in (("ca.pem", 2), ("ca.der", 1)):
        image = made(
            make,
            server="https://api.test",
            ca=tmp_path / name,
            signing_key=keys / "key.pem",
            config=tmp_path / "more.json",
        )
        config = config_of(image)
        made_at = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=config.pop("made_at"))
        assert before <= made_at <= datetime.now(UTC)
        assert len(config.pop("setup_password")) >= 12 and len(config.pop("device_secret")) == 32
        assert config == {
            "report_interval_s": 5,
            "wifi": [[WIFI, PASSWORD], ["second", ""]],
            "server": "https://api.test",
            "ca": "/ca.pem",
            "signing_keys": [(keys / "digest").read_bytes().hex()],
            "product": "Thermometer",
        }
        files = factory.read_files(image)
        assert files["/ca.pem"] == pem_bytes.replace(b"\r", b"") * count
        assert not [path for path, content in files.items() if b"PRIVATE KEY" in content]


def test_public_half_of_the_key_is_as_good(make, keys):
    config = config_of(made(make, signing_key=keys / "key.pub.pem"))
    assert config["signing_keys"] == [(keys / "digest").read_bytes().hex()]


def test_summary_says_what_lies_where_and_keeps_the_password(make):
    status, output, errors = make()
    assert (status, errors) == (0, "")
    size_bytes = len(release_on("1.27.0", 1))
    assert re.search(rf"0x10000 +0x1d0000 +ota_0 +MicroPython 1.27.0 .* {size_bytes:,}", output), output
    assert re.search(r"0x3b0000 +0x50000 +vfs +littlefs, \d+ files .* \d+ % ", output)
    assert SERIAL in output and WIFI in output and PASSWORD not in output
    assert make.out.stat().st_mode & 0o077 == 0, "the image holds a password"


def test_device_and_server_agree_on_serial_numbers():
    from tools.server.vendor import is_serial

    @given(st.text(st.sampled_from("aZ09._-/ é%\n"), max_size=66) | st.text(max_size=8))
    def agree(text):
        assert ondevice.is_serial(text) == is_serial(text)

    agree()


# what is refused


@pytest.mark.parametrize("serial", ["", "a/b", ".hidden", "x" * 65, "THERM 1", "THÉRM"])
def test_malformed_serial_number(make, serial):
    refused(make(serial=serial), 2, "is no serial number like THERM00000000000001", "SERIAL=…")
    assert not make.out.exists()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"server": "ftp://x"}, "is no address like http://"),
        ({"server": "http://user:pass@x"}, "is no address"),
        ({"server": None}, "--server"),
        ({"firmware": "missing.bin"}, "'missing.bin': no such file (FIRMWARE=…)"),
        ({"ca": "missing.pem"}, "(CA=…)"),
        ({"signing_key": "missing.pem"}, "(SIGNING_KEY=…)"),
        ({"out": "/"}, "is no file name"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(make, options, told):
    refused(make(**options), 2, told)


def test_image_for_another_chip(make):
    refused(make(firmware=S3), 1, "is for the ESP32-S3, not for the ESP32")
    assert not make.out.exists()


def test_image_that_does_not_fit(make, tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(COMBINED.read_bytes() + bytes(300_000))
    refused(make(firmware=path), 1, "the app is 1998016 bytes long, a slot of a 4MB flash only 1900544")
    assert make(firmware=path, flash_size="8MB")[0] == 0


@pytest.mark.parametrize("size, told", [("2MB", "too small for two firmwares"), ("5MB", "4MB, 8MB, 16MB")])
def test_flash_of_the_wrong_size(make, size, told):
    refused(make(flash_size=size), 1, told)


@pytest.mark.parametrize("name, code, told", BAD_PRODUCT_CODE)
def test_product_code_that_no_board_could_run(make, tmp_path, name, code, told):
    (tmp_path / "lamp").mkdir()
    if name != "lamp.txt":
        (tmp_path / "lamp" / "lamp.py").touch()
    (tmp_path / "lamp" / name).write_text(code)
    refused(make(app=tmp_path / "lamp"), 1, told)
    assert not make.out.exists()


def test_damaged_firmware(make, tmp_path):
    whole = COMBINED.read_bytes()
    path = tmp_path / "damaged.bin"
    for content, told in (
        (whole[:-1], "its app is damaged"),
        (whole[:0x80000], "its app is damaged"),
        (whole[:0x9000], "neither a combined ESP32 image nor an app image"),
        (whole[:2000] + b"!" + whole[2001:], "damaged.bin is damaged"),
        (whole[:900_000] + bytes(9) + whole[900_009:], "its app is damaged"),
        (b"", "is no ESP32 image (it begins with nothing)"),
        (b"PK\3\4" * 100, "is no ESP32 image (it begins with 504b0304)"),
    ):
        path.write_bytes(content)
        refused(make(firmware=path), 1, told)


def test_app_without_a_boot_loader(make, tmp_path):
    path = tmp_path / "app.bin"
    path.write_bytes(firmware.app_image("1.27.0"))
    refused(make(firmware=path), 1, "is an app alone: name its boot loader with BOOTLOADER=…")
    refused(make(firmware=path, bootloader=path), 1, "is an app, not a boot loader")
    refused(make(firmware=path, bootloader=S3), 1, "ESP32-S3")


@pytest.mark.parametrize(
    "text, told",
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"wify": []}', "there is no setting 'wify'"),
        ('{"report_interval_s": "5"}', "/config.json: report_interval_s has no value of its kind"),
        ('{"thing_name": "\\ud800"}', r"half of a character ('\ud800')"),
        ('{"wifi": ["name"]}', "wifi needs networks like"),
        ('{"wifi": [["name", "short"]]}', "the password of WiFi 'name'"),
        ('{"signing_keys": ["x"]}', "/config.json: signing_keys has no value of its kind"),
        ('{"thing_name": "' + "x" * 9000 + '"}', "/config.json"),
    ],
)
def test_settings_that_the_device_would_refuse(make, tmp_path, text, told):
    (tmp_path / "more.json").write_text(text)
    refused(make(config=tmp_path / "more.json", wifi_ssid=""), 1, told)


@pytest.mark.parametrize(
    "name, password",
    [
        ("x" * 33, PASSWORD),
        ("ä" * 17, PASSWORD),
        ("name", "short"),
        ("name", "x" * 64),
        ("name", "ä" * 32),
        ("name", "pass\tword"),
        ("name", "password\x7f"),
    ],
)
def test_wifi_that_cannot_be(make, monkeypatch, name, password):
    monkeypatch.setenv("WIFI_PASSWORD", password)
    outcome = make(wifi_ssid=name)
    refused(outcome, 1, "WiFi")
    assert password not in outcome[2]


def test_wifi_left_out_is_the_owners_to_choose(make, monkeypatch):
    status, output, _ = make(wifi_ssid="")
    assert status == 0 and "WiFi by its owner, through the setup network" in output
    assert "wifi" not in config_of(make.out.read_bytes())
    monkeypatch.delenv("WIFI_PASSWORD")
    refused(make(), 2, "WIFI_PASSWORD is missing", "--wifi-password-file")


@pytest.mark.parametrize("port", ["0", "65536", "99999", "1" * 40])
def test_server_at_a_port_that_no_board_can_dial(make, port):
    refused(make(server=f"http://192.168.1.20:{port}"), 2, f"has the port {port}: they go from 1 to 65535")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost.",
        "my.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "0",
        "ip6-localhost",
        "localhost.localdomain",
    ],
)
def test_server_that_a_board_would_look_for_on_itself(real, host):
    refused(
        real(server=f"http://{host}:8080"), 1, "a board reaches it by its address in the network", "ALLOW_LOCALHOST=1"
    )


@pytest.mark.parametrize("host", ["192.168.1.20", "localhost.example.com", "local", "1270.example.com", "10.0.0.127"])
def test_server_that_boards_reach(real, host):
    assert real(server=f"http://{host}:65535")[0] == 0


def test_https_without_certificates_to_check_it_against(make, tmp_path):
    refused(make(server="https://api.test"), 1, "https://api.test needs its CA's certificate, CA=….pem")
    (tmp_path / "more.json").write_text('{"ca": "/ca.pem"}')
    refused(make(server="https://api.test", config=tmp_path / "more.json"), 1, "CA=….pem")
    refused(make(config=tmp_path / "more.json"), 1, "names certificates on the board (/ca.pem), but gives none")


def test_version_id_that_is_none(make, monkeypatch):
    refused(make(version_id="a/b"), 1, "is no version Id")
    monkeypatch.setenv("GADGETKEEPER_PASSWORD", "secret")
    refused(make(version_id="a", server="http://127.0.0.1:1"), 1, "VERSION_ID is not checked", "CHECK=0")
    assert make("--no-check", version_id="a", server="http://127.0.0.1:1")[0] == 0


def test_version_id_that_the_server_does_not_have(make, world):
    refused(make(version_id="a" * 32, server=world.url), 1, f"has no version {'a' * 32}", "version list")
    assert not make.out.exists()


def test_certificates_that_are_of_no_use(make, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    refused(make(ca=path), 1, "holds no certificate")
    bundle = trustme.CA().cert_pem.bytes()
    path.write_bytes(bundle * 100)
    refused(make(ca=path), 1, "holds 100 certificates, too many")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    now = datetime.now(UTC)
    old = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(9), now - timedelta(2))
    path.write_bytes(old.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    refused(make(ca=path), 1, "the certificate CN=old expired on")


def test_keys_that_devices_do_not_check(make, tmp_path, keys):
    path = tmp_path / "key.pem"
    for content, told in (
        (b"nonsense", "holds no key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "RSA-3072"),
        (pem(rsa.generate_private_key(65537, 2048)), "is an RSA-2048 key"),
    ):
        path.write_bytes(content)
        refused(make(signing_key=path), 1, told)


def test_folder_that_cannot_be_written(make, tmp_path):
    (tmp_path / "file").write_text("")
    refused(make(out=tmp_path / "file" / "image.bin"), 1, str(tmp_path / "file"))


def test_interrupted_writing_leaves_the_image_before(make, tmp_path, monkeypatch):
    before = made(make)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    refused(make(serial="OTHER"), 1, "disk full")
    assert make.out.read_bytes() == before
    assert sorted(path.name for path in make.out.parent.iterdir()) == ["image.bin", "image.label.html"]


# on the twin


@pytest.fixture
def world(tmp_path, request, monkeypatch):
    """A server with versions 1 and 2, and the serial number; it speaks https if the test says so."""
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    tls = (tmp_path / "server.pem", tmp_path / "server.pem") if getattr(request, "param", "") == "https" else None
    with server.running(tmp_path / "server", tls=tls) as running:
        vendor = running.vendor
        monkeypatch.setenv("GADGETKEEPER_PASSWORD", running.password)
        running.ca = tmp_path / "ca.pem"
        ca.cert_pem.write_to_path(running.ca)
        template = vendor.create_template("Thermometer")
        vendor.add_serials(vendor.create_product("Thermometer", template["id"])["id"], [SERIAL])
        versions = {}
        for name in ("1", "2"):
            path = tmp_path / "app.bin"
            path.write_bytes(release_on("1.27.0", int(name)))
            versions[name] = vendor.create_version(template["id"], path)["id"]
        (tmp_path / "quick.json").write_text('{"start_spread_s": 0}')
        running.quick = tmp_path / "quick.json"
        running.set_target = lambda name: vendor.set_target(template["id"], versions[name])
        running.versions = versions
        yield running


def power_on(make, tmp_path) -> tuple[Twin, str]:
    twin = Twin(tmp_path / "flash.bin", "vm")
    twin.world |= insert_image(make.out, twin)
    result = twin.power_on(until=is_done)
    assert result.reason == "until", result.console
    assert PASSWORD not in result.console
    return twin, result.console


def in_step(running, twin, name) -> None:
    thing = running.vendor.thing(SERIAL)
    assert thing["currentVersion"]["id"] == thing["targetVersion"]["id"] == running.versions[name]
    assert twin.state()["versionId"] == running.versions[name]


@pytest.mark.vm
@pytest.mark.parametrize("size", ["4MB", "8MB"])
def test_from_the_factory_by_the_server_to_a_confirmed_update(make, world, tmp_path, size):
    world.set_target("2")
    made(make, server=world.url, flash_size=size, config=world.quick)
    twin, console = power_on(make, tmp_path)
    steps = ["ota_0 (first boot)", "[2/5] activated", "[4/5] firmware 2 into ota_1", "ota_1 (on trial)", "[5/5]"]
    places = [console.index(step) for step in steps]
    assert places == sorted(places), console
    in_step(world, twin, "2")
    image = release_on("1.27.0", 2)
    assert twin.slot_bytes("ota_1", len(image)) == image


@pytest.mark.vm
def test_device_that_leaves_the_factory_in_step_downloads_nothing(make, world, tmp_path):
    world.set_target("1")
    made(make, server=world.url, version_id=world.versions["1"], config=world.quick)
    twin, console = power_on(make, tmp_path)
    assert "[3/5] target version 1" in console and "installed: the same" in console
    assert "[5/5] version 1 confirmed" in console and "[4/5]" not in console
    in_step(world, twin, "1")
    assert twin.slot_bytes("ota_1", 4096) == b"\xff" * 4096
    world.set_target("2")
    twin, console = power_on(make, tmp_path)
    assert "[4/5] firmware 2 into ota_1" in console
    in_step(world, twin, "2")


@pytest.mark.vm
def test_board_leaves_the_factory_as_the_vendors_own_product(make, world, tmp_path):
    """It was a thermometer until its first update, and its first boot measured what nobody had sold."""
    world.set_target("1")
    order = {"server": world.url, "version_id": world.versions["1"], "config": world.quick, "app": RELAY}
    assert f"product code from {RELAY}\n" in make(**order)[1]
    files = release.read_release(make.out.read_bytes()[0x10000:], "ota_0").files
    assert "/relay.mpy" in files and "/thermometer.mpy" not in files
    assert json.loads(files["/manifest.json"])["app"] == "relay"
    twin = Twin(tmp_path / "flash.bin", "vm")
    twin.world |= insert_image(make.out, twin)
    result = twin.power_on(until=lambda console: "relay on: reported" in console)
    assert result.reason == "until" and result.boots == 1, result.console
    assert "[5/5] version 1 confirmed" in result.console and " C reported" not in result.console
    assert world.vendor.thing(SERIAL)["properties"]["relay"] is True


@pytest.mark.vm
@pytest.mark.parametrize("world", ["https"], indirect=True)
def test_device_trusts_the_ca_that_it_was_made_with_and_no_other(make, world, tmp_path):
    world.set_target("1")
    order = {"server": world.url, "version_id": world.versions["1"], "config": world.quick}
    made(make, ca=world.ca, **order)
    twin, console = power_on(make, tmp_path)
    assert "[5/5] version 1 confirmed" in console
    in_step(world, twin, "1")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    refused(make(ca=tmp_path / "other.pem", **order), 1, "VERSION_ID is not checked: no answer from https://")
    assert make("--no-check", ca=tmp_path / "other.pem", **order)[0] == 0
    (tmp_path / "flash.bin").unlink()
    twin = Twin(tmp_path / "flash.bin", "vm")
    twin.world |= insert_image(make.out, twin)
    result = twin.power_on(max_boots=1, timeout_s=60, until=lambda console: "next try" in console)
    assert result.reason == "until" and "[2/5]" not in result.console, result.console


@pytest.mark.vm
def test_another_boards_flash_is_not_taken_for_this_image(make, tmp_path):
    made(make)
    command = [sys.executable, "-m", "tools.twin", "--image", make.out, "--flash", tmp_path / "flash.bin"]
    (tmp_path / "flash.bin").write_bytes(made(make, serial="OTHER"))
    made(make)
    done = subprocess.run([*command, "--timeout", "1"], capture_output=True, text=True, cwd=factory.ROOT)
    assert done.returncode == 2 and "is OTHER, not " + SERIAL in done.stderr
    (tmp_path / "flash.bin").write_bytes(made(make, server="http://127.0.0.2:8080"))
    made(make)
    done = subprocess.run([*command, "--timeout", "1"], capture_output=True, text=True, cwd=factory.ROOT)
    assert done.returncode == 2 and "has other settings than" in done.stderr


def test_compiled_agent_is_not_run_on_cpython(make, tmp_path):
    made(make)
    command = [sys.executable, "-m", "tools.twin", "--image", make.out, "--flash", tmp_path / "flash.bin"]
    done = subprocess.run([*command, "--runtime", "cpython"], capture_output=True, text=True, cwd=factory.ROOT)
    assert done.returncode == 2 and "only the MicroPython VM runs" in done.stderr
    assert not (tmp_path / "flash.bin").exists()


@pytest.mark.parametrize("content", [None, b"", b"\xff" * (4 << 20), b"\xff" * 100])
def test_image_that_is_none_is_not_inserted(tmp_path, content):
    if content is not None:
        (tmp_path / "image.bin").write_bytes(content)
    command = [sys.executable, "-m", "tools.twin", "--image", tmp_path / "image.bin", "--flash", tmp_path / "f.bin"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=factory.ROOT)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "f.bin").exists()


def test_espressif_names_the_chips():
    assert (espressif.chip_name(0), espressif.chip_name(9)) == ("ESP32", "ESP32-S3")
    assert espressif.chip_name(777) == "chip with the Id 777"


# files that people have edited

EDITED = {
    "byte order mark": lambda text: "\ufeff" + text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "indented": lambda text: "".join(f"    {line}  \n" for line in text.splitlines()),
    "all of it": lambda text: "\ufeffmy key\r\n" + "".join(f"\t{line}\r\n" for line in text.splitlines()),
}


@pytest.mark.parametrize("edit", EDITED.values(), ids=EDITED)
def test_certificates_and_keys_as_editors_leave_them(make, tmp_path, keys, edit):
    ca = trustme.CA().cert_pem.bytes().decode().replace("\r", "")
    (tmp_path / "ca.pem").write_bytes(edit(ca + ca).encode())
    for name in ("key.pem", "key.pub.pem"):
        (tmp_path / name).write_bytes(edit((keys / name).read_text()).encode())
        image = made(make, server="https://api.test", ca=tmp_path / "ca.pem", signing_key=tmp_path / name)
        assert config_of(image)["signing_keys"] == [(keys / "digest").read_bytes().hex()]
        assert factory.read_files(image)["/ca.pem"].decode() == ca * 2
    app = release_on("1.27.0", 1)
    signed = espressif.sign(app, tmp_path / "key.pem")
    ondevice.check_firmware(
        signed,
        bytes(40),
        factory.place("ota_1", factory.LAYOUT).size,
        [espressif.key_digest(keys / "key.pem")],
        "Thermometer",
    )


@pytest.mark.parametrize("edit", [EDITED["byte order mark"], EDITED["CRLF"]], ids=["byte order mark", "CRLF"])
def test_settings_as_editors_leave_them(make, tmp_path, edit):
    (tmp_path / "more.json").write_bytes(edit('{\n"report_interval_s": 5\n}\n').encode())
    assert config_of(made(make, config=tmp_path / "more.json"))["report_interval_s"] == 5


def test_files_in_another_encoding_are_refused_with_that_reason(make, tmp_path, keys):
    path = tmp_path / "file"
    path.write_bytes('{"report_interval_s": 5}'.encode("utf-16"))
    refused(make(config=path), 1, "is not JSON: it is text in UTF-16: save it as UTF-8")
    path.write_bytes(trustme.CA().cert_pem.bytes().decode().encode("utf-16"))
    refused(make(server="https://api.test", ca=path), 1, "holds no certificate: it is text in UTF-16")
    path.write_bytes((keys / "key.pem").read_text().encode("utf-16"))
    refused(make(signing_key=path), 1, f"factory: {path} holds no key in PEM form: it is text in UTF-16")
    path.write_bytes('{"thing_name": "Küche"}'.encode("latin-1"))
    refused(make(config=path), 1, "byte 18 is no UTF-8")
