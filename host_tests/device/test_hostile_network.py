"""A whole device, and somebody between it and its server: it says what is wrong, keeps its secrets, and gets there."""

import re
import socket
import threading

import pytest

from host_tests.fakes.console_line import SOURCE_FLASH_BYTES
from host_tests.fakes.server import answer
from host_tests.http.rig import HASTE, hasty_device
from tools import agent, factory, firmware
from tools.proof.releases import small_release
from tools.server.serving import running
from tools.twin.__main__ import WIFI, is_done
from tools.twin.device import Twin

SERIAL = "THERM00000000000001"
VM = pytest.mark.vm


class Between:
    """Listens, and passes everything on to a server; except that the answer to the first request whose line holds
    `where` is what `spoil(answer)` makes of it: bytes."""

    def __init__(self, target_port: int, where: str, spoil) -> None:
        self.spoilt = 0
        self._target_port = target_port
        self._where = where.encode()
        self._spoil = spoil
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, device: socket.socket) -> None:
        with device, socket.create_connection(("127.0.0.1", self._target_port)) as server:
            request = b""
            while b"\r\n\r\n" not in request:
                request += device.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            while length and len(body) < int(length[1]):
                body += device.recv(65536)
            server.sendall(head + b"\r\n\r\n" + body)
            whole = b""
            while more := server.recv(65536):
                whole += more
            if not self.spoilt and self._where in head.split(b"\r\n")[0]:
                self.spoilt += 1
                whole = self._spoil(whole)
            try:
                device.sendall(whole)
            except OSError:  # the device has heard enough
                return


def cut(share: float):
    return lambda whole: whole[: int(len(whole) * share)]


def with_head(line: str):
    def spoil(whole: bytes) -> bytes:
        head, _, body = whole.partition(b"\r\n\r\n")
        return head + b"\r\n" + line.encode() + b"\r\n\r\n" + body

    return spoil


HTML = answer(b"<html>Welcome to Hotel Wi-Fi</html>", kind="text/html")
CASES = [
    ("activate", cut(0), "activate: the server does not answer (it hangs up) [no_answer]"),
    ("activate", lambda _: HTML, "activate: the answer cannot be used (no JSON) [bad_answer]"),
    ("target", lambda _: answer(b"", "302 Found", ["Location: http://localhost:1/"]), "[redirect]"),
    ("target", with_head("Content-Length: 3"), "(length) [bad_answer]"),
    ("firmware", cut(0.3), "[body_cut]"),
    ("firmware", lambda _: HTML, "bad_firmware_body"),
    ("firmware", lambda whole: whole[:90_000] + bytes(99) + whole[90_099:], "[wrong_hash]"),
]


@pytest.mark.parametrize("runtime", [pytest.param("vm", marks=VM)])
@pytest.mark.parametrize("where, spoil, said", CASES)
def test_device_gets_there_in_the_end(tmp_path, runtime, where, spoil, said):
    device = hasty_device(tmp_path, {**HASTE, "agent/backoff.py": {"_FIRST_S": 1, "_CAP_S": 1}})
    image = tmp_path / "app.bin"
    image.write_bytes(small_release(2, 150_000, source=True))
    with running(tmp_path / "data") as server:
        template = server.vendor.create_template("Thermometer")
        product = server.vendor.create_product("Thermometer", template["id"])
        server.vendor.add_serials(product["id"], [SERIAL])
        version = server.vendor.create_version(template["id"], image)
        server.vendor.set_target(template["id"], version["id"])
        between = Between(int(server.url.rpartition(":")[2]), where, spoil)
        quick = {"report_interval_s": 1, "start_spread_s": 0, "chip_temperature_property": "chip"}
        own = factory.own_files(SERIAL, between.url, wifi=WIFI, **quick)
        files = {**agent.deployed_files(agent.source_files(device)), **own}
        flash = tmp_path / "flash.bin"
        flash.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files, flash_bytes=SOURCE_FLASH_BYTES))
        twin = Twin(flash, runtime, {"ds18x20": None})  # the chip's own sensor needs no waiting
        result = twin.power_on(max_boots=5, timeout_s=60, until=is_done)
        between.close()
        assert result.reason == "until", result.console
        assert between.spoilt == 1
        assert said in result.console, result.console
        assert "Traceback" not in result.console
        for secret in (twin.state()["apiKey"], WIFI[0][1]):
            assert secret not in result.console
        assert twin.state()["versionId"] == version["id"]
        assert server.vendor.thing(SERIAL)["currentVersion"]["id"] == version["id"]
