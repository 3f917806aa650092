"""What is wrong at the device or the server gives one clear line, loses nothing, and the thermometer runs."""

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from host_tests.fakes.console_line import SOURCE_FLASH_BYTES
from tools import agent, factory, firmware
from tools.proof.releases import small_release
from tools.twin.__main__ import WIFI
from tools.twin.device import Twin

SERIAL = "THERM00000000000001"
THING, KEY, TARGET = "a" * 32, "b" * 32, "c" * 32
IMAGE = firmware.app_image("1.27.0")
RELEASE = small_release(2, 300_000, source=True)

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]


class Script:
    """A server that gives prepared answers: (status, content type, body) by call; a body of None hangs up."""

    def __init__(self) -> None:
        self.answers = {
            "activate": (200, "application/json", json.dumps({"thingId": THING, "apiKey": KEY}).encode()),
            "thing": (204, "", b""),
            "target": (200, "application/json", json.dumps({"id": TARGET, "name": "2", "description": ""}).encode()),
            "current": (404, "application/json", b'{"code": "GK-000-0004", "message": "no version"}'),
            "firmware": (404, "application/json", b"{}"),
            "confirm": (204, "", b""),
            "value": (204, "", b""),
        }
        self.length = True
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def do_GET(self) -> None:
                status, kind, body = script.answers[call_of(self.path)]
                if body is None:
                    return
                self.send_response(status)
                if kind:
                    self.send_header("Content-Type", kind)
                if script.length:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the device may have heard enough
                    self.wfile.write(body)

            def log_message(self, *arguments) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def call_of(path: str) -> str:
    name = path.removesuffix(".json").rsplit("/", 1)[1]
    if "/activate/" in path:
        return "activate"
    if name in ("target", "current", "firmware", "value"):
        return name
    return "confirm" if "/versions/" in path else "thing"


@pytest.fixture
def script():
    script = Script()
    yield script
    script.close()


def make_flash(path, files) -> None:
    everything = {**agent.deployed_files(agent.source_files()), **files}
    path.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), everything, flash_bytes=SOURCE_FLASH_BYTES))


def run(tmp_path, runtime, server, files=None):
    """Power on until the thermometer has measured; the twin and its console. Checks what must always hold."""
    flash = tmp_path / "flash.bin"
    files = {**factory.own_files(SERIAL, server, wifi=WIFI, start_spread_s=0), **(files or {})}
    make_flash(flash, {name: content for name, content in files.items() if content is not None})
    twin = Twin(flash, runtime)
    result = twin.power_on(max_boots=1, timeout_s=30, until=lambda console: " C" in console.partition("]; ")[2])
    assert result.reason == "until", result.console
    assert "Traceback" not in result.console
    assert result.console.count("the thermometer runs, next try in") == 1, result.console
    assert KEY not in result.console
    assert twin.slot_bytes("ota_0", len(IMAGE)) == IMAGE
    assert twin.files().get("/serial.txt") == files["/serial.txt"]
    return twin, result.console


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize(
    "content, code",
    [
        (None, "no_serial"),
        (b"", "no_serial"),
        (b"\n", "no_serial"),
        (b"a/../b\n", "bad_serial"),
        (b"\xff", "bad_serial"),
    ],
)
def test_device_without_a_serial_number_says_so(tmp_path, runtime, script, content, code):
    _, console = run(tmp_path, runtime, script.url, {"/serial.txt": content})
    assert f"[{code}]" in console
    assert "not reported: not activated" in console


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize("content", [b"{", b'{"wifi": "twin-password"}', b'{"report_interval_s": 0}'])
def test_broken_settings_are_named(tmp_path, runtime, script, content):
    _, console = run(tmp_path, runtime, script.url, {"/config.json": content})
    assert "/config.json" in console and ("[bad_config]" in console or "[no_config]" in console)
    assert "twin-password" not in console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_unknown_serial_number(tmp_path, runtime, script):
    script.answers["activate"] = (404, "application/json", b'{"code": "GK-000-0004", "message": "x"}')
    _, console = run(tmp_path, runtime, script.url)
    assert "activate: the serial number is not registered at the server (404) [not_registered]" in console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_server_not_reachable(tmp_path, runtime, script):
    script.close()
    _, console = run(tmp_path, runtime, script.url)
    assert "activate: 127.0.0.1 does not answer (ECONNREFUSED) [no_answer]" in console


WRONG_ANSWERS = [
    ((500, "text/plain", b"oops"), "server_error"),
    ((403, "text/plain", b"no"), "refused"),
    ((302, "text/plain", b""), "redirect"),
    ((200, "application/json", None), "no_answer"),
    ((200, "text/html", b"<html>log in</html>"), "bad_"),
    ((200, "application/json", b"[1"), "bad_"),
    ((200, "application/json", b'{"thingId": 5, "id": {}, "firmware": []}'), "bad_"),
    ((200, "application/json", b'{"x": "' + b"x" * 40000), "bad_"),
]


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize(
    "call, answer, code",
    [
        (call, answer, code)
        for call in ("activate", "thing", "target", "current", "firmware")
        for answer, code in WRONG_ANSWERS
        if not (call == "thing" and code == "bad_")  # a rename's answer has no body that the agent would read
    ],
)
def test_wrong_answers_at_every_call(tmp_path, runtime, script, call, answer, code):
    script.answers[call] = answer
    twin, console = run(tmp_path, runtime, script.url)
    if call == "activate" and answer[0] == 403:
        code = "not_allowed"  # what a board without the right secret is told
    assert f"[{code}" in console, console
    named = {"thing": "update thing", "target": "get target version", "current": "get current version"}
    if call == "firmware" and code == "bad_":
        assert "the firmware" in console
    elif call == "thing" and code in ("refused", "server_error"):
        assert f"\nnot renamed [{code}]\n" in console, "and the update goes on"
    else:
        assert f"\n{named.get(call, 'get firmware' if call == 'firmware' else call)}: " in console, console
    if call != "activate":
        assert twin.state()["apiKey"] == KEY, "the activation was lost"


@pytest.mark.parametrize("runtime", ON_BOTH)
@pytest.mark.parametrize(
    "body, code",
    [
        (b"hello", "not_an_image"),
        (firmware.combined_image("1.27.0").read_bytes(), "not_an_app"),
        (firmware.extract_app(firmware.combined_image("1.27.0-esp32s3")), "wrong_chip"),
        (IMAGE, "no_release"),
        (RELEASE + bytes(3_000_000), "image_too_big"),
        (RELEASE[:200_000], "truncated"),
        (RELEASE[:-1] + bytes([RELEASE[-1] ^ 1]), "wrong_hash"),
        (b'"' + base64.b64encode(RELEASE)[:50_000] + b"*" + base64.b64encode(RELEASE)[50_001:] + b'"', "bad_base64"),
        (b'"' + base64.b64encode(RELEASE)[:50_000], "firmware_cut"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_firmware_that_must_never_run(tmp_path, runtime, script, body, code):
    kind = "application/json" if body[:1] == b'"' else "application/octet-stream"
    script.answers["firmware"] = (200, kind, body)
    twin, console = run(tmp_path, runtime, script.url)
    assert f"[{code}]" in console, console
    assert [state for _, state, sound in twin.otadata() if sound] == [2], "something was armed"
    assert "reported" in console and "not reported" not in console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_no_target_version(tmp_path, runtime, script):
    script.answers["target"] = (404, "application/json", b'{"code": "GK-000-0004", "message": "x"}')
    _, console = run(tmp_path, runtime, script.url)
    assert "get target version: the server has no target version for this thing (404) [no_target]" in console
    assert "21.5 C reported" in console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_body_without_length_ends_with_the_connection(tmp_path, runtime, script):
    script.length = False
    script.answers["firmware"] = (200, "application/octet-stream", RELEASE[:100_000])
    _, console = run(tmp_path, runtime, script.url)
    assert "[truncated]" in console
