"""The setup over the cable: Improv on the twin's console, by our own client and, where it is installed, by the
reference client from npm; packets as a line loses, doubles and splits them."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host_tests.fakes.owner import NETWORK, PASSWORD, NewHome
from tools.deploy.__main__ import main as deploy
from tools.deploy.port import open_serial
from tools.owner import wifi
from tools.owner.improv import Improv, encode
from tools.twin import repl
from tools.twin.paths import ROOT

pytestmark = pytest.mark.vm
WRONG = "gu3ssed-wrongly"
SDK = ROOT / "build" / "npm" / "node_modules" / "improv-wifi-serial-sdk" / "dist"
COMMAND, ASK_STATE, ASK_DEVICE = 3, b"\x02\x00", b"\x03\x00"


@pytest.fixture
def board(tmp_path):
    """A fresh thermometer whose console listens; `.home` is around it."""
    with NewHome(tmp_path, "vm") as home:
        home.set_target("1")
        with repl.running(home.twin()) as running:
            running.home = home
            yield running


class Console:
    """A terminal program that keeps what it hears."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("socket://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=1)
        self.heard = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def listen(self, until: bytes, timeout_s: float = 30) -> bytes:
        """All that is heard until this, or AssertionError."""
        end_s = time.monotonic() + timeout_s
        while until not in self.heard:
            assert time.monotonic() < end_s, self.heard
            with contextlib.suppress(TimeoutError):
                self.heard += self._socket.recv(4096)
        before, _, self.heard = self.heard.partition(until)
        return before

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def console(board):
    """A terminal at the board, which waits for its owner."""
    opened = Console(board.url)
    opened.listen(b"setup: join the network")
    yield opened
    opened.close()


def test_board_is_set_up_over_the_cable_a_wrong_password_first(board):
    with open_serial(board.url, 0.1) as port:
        client = Improv(port)
        assert client.device() == ["Thermometer", "1", "ESP32", "Thermometer-000001"]
        networks = client.networks()
        assert [network.name for network in networks[:3]] == [NETWORK, "no address", "cafe"] and networks[2].is_open
        assert not client.join(NETWORK, WRONG)
        assert not client.join(NETWORK, "short")
        assert not client.join("x" * 40, PASSWORD)
        assert client.join(NETWORK, PASSWORD)
    console = Console(board.url)
    said = console.listen(b"in step with version", 60)
    console.close()
    assert PASSWORD.encode() not in said and WRONG.encode() not in said
    assert json.loads(board.home.twin().files()["/owner.json"])["network"] == NETWORK.encode().hex()


STATE = encode(1, b"\x02")


def test_packets_that_a_line_splits_doubles_or_damages_do_no_harm(console):
    ask = encode(COMMAND, ASK_STATE)
    for byte in ask:
        console.send(bytes((byte,)))
        time.sleep(0.01)
    console.listen(STATE)
    console.send(ask + ask)
    console.listen(STATE)
    console.listen(STATE)
    console.send(ask[:5] + ask)  # cut off, and sent again at once
    console.listen(STATE)
    console.send(b"hello\r\nIMPIMPROV" + ask)
    console.listen(STATE)
    for damaged in (
        ask[:-1] + b"\0",
        encode(COMMAND, b""),
        encode(COMMAND, b"\x01\x02\xff\xff"),
        encode(COMMAND, b"\x01"),
    ):
        console.send(damaged)
        console.listen(encode(2, b"\x01"))
    console.send(encode(COMMAND, b"\x01\x06\x01a\x03\xff\xff\xff"))  # a password that is no text
    console.listen(encode(2, b"\x01"))
    console.send(encode(COMMAND, b"\x63\x00"))
    console.listen(encode(2, b"\x02"))
    console.send(ask[:4] + ask[5:-2])  # a byte is lost, and the rest does not come
    time.sleep(1)
    console.send(ask)
    console.listen(STATE)


def test_ctrl_c_between_packets_gives_the_prompt_and_within_one_is_a_byte(board, console):
    console.send(encode(COMMAND, ASK_DEVICE))  # holds the byte of Ctrl-C twice
    console.listen(b"ESP32\x12Thermometer-000001")
    console.send(b"\x03\x03")
    console.listen(b">>> ")
    console.close()
    assert deploy(["status", "--port", board.url]) == 0
    with open_serial(board.url, 0.1) as port:
        assert Improv(port).device()[0] == "Thermometer", "it does not go on"


def test_make_wifi_says_how_it_went_and_never_the_password(board, console, monkeypatch, capsys):
    console.close()
    answers = iter(["1", WRONG, NETWORK, PASSWORD])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    monkeypatch.setattr(wifi.getpass, "getpass", lambda prompt: next(answers))
    monkeypatch.setattr(sys, "stdin", open("/dev/ptmx"))  # noqa: SIM115  a terminal
    assert wifi.main(["--port", board.url]) == 0
    said = capsys.readouterr()
    assert "1  " + NETWORK in said.out and "open)" in said.out and "was not joined" in said.out
    assert "joined, and kept" in said.out and not said.err
    assert PASSWORD not in said.out and WRONG not in said.out


def test_make_wifi_without_a_terminal_takes_the_password_from_the_environment(board, console, monkeypatch, capsys):
    console.close()
    monkeypatch.setenv("WIFI_PASSWORD", WRONG)
    assert wifi.main(["--port", board.url, "--ssid", NETWORK]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("wifi: ") and said.err.count("\n") == 1 and WRONG not in said.err + said.out


def test_make_wifi_without_a_board_in_setup_says_what_to_do(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("tools.owner.improv._ANSWER_S", 2)
        monkeypatch.setattr("tools.owner.improv._AGAIN_S", 1)
        assert wifi.main(["--port", f"socket://127.0.0.1:{silent.getsockname()[1]}"]) == 1
    assert "hold the board's button for three seconds" in capsys.readouterr().err


@pytest.mark.skipif(not (SDK.exists() and shutil.which("node")), reason="make installer brings the client from npm")
def test_reference_client_from_npm_sets_up_a_board_a_wrong_password_first(board, console, tmp_path):
    console.close()
    client = Path(shutil.copytree(SDK, tmp_path / "sdk"))
    (client / "package.json").write_text('{"type": "module"}')
    for module in client.rglob("*.js"):  # made for a bundler, which finds files without their endings
        module.write_text(re.sub(r'(from "\.[^"]*?)(?:\.js)?"', r'\1.js"', module.read_text()))
    host, port = board.url.removeprefix("socket://").split(":")
    steps = [["scan"], ["provision", NETWORK, WRONG], ["getHostname"], ["provision", NETWORK, PASSWORD]]
    script = Path(__file__).with_name("improv_client.mjs")
    done = subprocess.run(
        ["node", script, client, host, port, json.dumps(steps)], capture_output=True, text=True, timeout=120
    )
    assert not done.returncode and not done.stderr, done.stderr
    device, networks, wrong, hostname, joined = json.loads(done.stdout)
    assert device["name"] == "Thermometer-000001" and device["chipFamily"] == "ESP32"
    assert {"name": NETWORK, "rssi": -50, "secured": True} in networks and len(networks) == 5
    assert (wrong, hostname) == ("UNABLE_TO_CONNECT", "UNKNOWN_RPC_COMMAND")
    assert joined == 4, "not provisioned"
