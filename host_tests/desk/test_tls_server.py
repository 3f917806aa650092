"""The server speaks https, and a device updates itself over it, within an ESP32's memory."""

import subprocess
import sys

import pytest
import trustme

from host_tests.fakes.console_line import SOURCE_FLASH_BYTES
from tools import agent, factory, firmware
from tools.proof.releases import small_release
from tools.server.serving import ServingError, running
from tools.twin.__main__ import WIFI, is_done
from tools.twin.device import Twin

SERIAL = "THERM00000000000001"
ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def tls(ca, tmp_path):
    """Files of a certificate and its key."""
    issued = ca.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    issued.private_key_pem.write_to_path(tmp_path / "server.key")
    return tmp_path / "server.pem", tmp_path / "server.key"


def publish(server, images) -> dict:
    """A product with a serial number, and the images as versions; the last is the target."""
    template = server.vendor.create_template("Thermometer")
    product = server.vendor.create_product("Thermometer", template["id"])
    server.vendor.add_serials(product["id"], [SERIAL])
    for image in images:
        version = server.vendor.create_version(template["id"], image)
    server.vendor.set_target(template["id"], version["id"])
    return version


def make_flash(path, url: str, ca_pem: bytes) -> None:
    own = factory.own_files(SERIAL, url, wifi=WIFI, ca="/ca.pem")
    files = {**agent.deployed_files(agent.source_files()), **own, "/ca.pem": ca_pem}
    path.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files, flash_bytes=SOURCE_FLASH_BYTES))


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_update_over_tls(tmp_path, runtime, ca, tls):
    image = tmp_path / "app.bin"
    image.write_bytes(small_release(2, 60_000, source=True))
    with running(tmp_path / "data", tls=tls) as server:
        assert server.url.startswith("https://")
        version = publish(server, [image])
        make_flash(tmp_path / "flash.bin", server.url, ca.cert_pem.bytes())
        twin = Twin(tmp_path / "flash.bin", runtime)
        result = twin.power_on(max_boots=3, timeout_s=60, until=is_done)
        assert (result.reason, result.boots) == ("until", 2), result.console
        assert "Traceback" not in result.console and twin.state()["apiKey"] not in result.console
        assert twin.state()["versionId"] == version["id"]
        assert server.vendor.thing(SERIAL)["currentVersion"]["id"] == version["id"]


@pytest.mark.vm
def test_server_that_nobody_vouches_for_learns_nothing(tmp_path, tls):
    with running(tmp_path / "data", tls=tls) as server:
        make_flash(tmp_path / "flash.bin", server.url, trustme.CA().cert_pem.bytes())
        twin = Twin(tmp_path / "flash.bin")
        result = twin.power_on(max_boots=1, timeout_s=30, until=lambda console: " C" in console.partition("]; ")[2])
        assert "127.0.0.1 has a certificate that none in /ca.pem vouches for [unknown_ca]" in result.console
        assert server.vendor.things() == []


def test_certificate_and_key_that_do_not_fit(tmp_path, ca, tls):
    other = tmp_path / "other.key"
    ca.issue_cert("localhost").private_key_pem.write_to_path(other)
    for files in ((tls[0], other), (other, other), (tmp_path / "missing", tls[1])):
        with pytest.raises(ServingError, match="cannot use the certificate"), running(tmp_path / "data", tls=files):
            pass


def test_command_line(tmp_path, ca, tls):
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    def cli(*arguments):
        command = [sys.executable, "-m", "tools.server", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    wrong = cli("serve", "--certificate", tls[0])
    assert wrong.returncode == 2 and "--key" in wrong.stderr and len(wrong.stderr.splitlines()) == 1
    with running(tmp_path / "data", tls=tls) as server:
        (tmp_path / "password").write_text(server.password)
        common = ("--server", server.url, "--password-file", tmp_path / "password")
        refused = cli(*common, "thing", "list")
        assert refused.returncode == 1 and "certificate" in refused.stderr.lower(), refused.stderr
        assert cli(*common, "--ca", tmp_path / "ca.pem", "thing", "list").returncode == 0
        assert cli("thing", "list", *common, "--ca", tmp_path / "ca.pem").returncode == 0
        assert cli(*common, "--ca", tmp_path / "password", "thing", "list").returncode == 2
