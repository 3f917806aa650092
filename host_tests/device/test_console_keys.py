"""A board's console from power-on, on the real VM: noise, a person, and a boot.py that raises."""

import socket
import time

import pytest

from host_tests.fakes.console_line import OWN, SOURCE_FLASH_BYTES, make_board
from tools import agent
from tools.twin import repl
from tools.twin.device import Twin

DEADLINE_S = 60


class Console:
    """Somebody who types and listens."""

    def __init__(self, board) -> None:
        host, port = board.url.removeprefix("socket://").split(":")
        self._line = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
        self.heard = b""

    def type(self, keys: bytes) -> None:
        self._line.sendall(keys)

    def hear(self, *wanted: bytes) -> None:
        """Listen until each of these has come, in this order."""
        at = len(self.heard)
        for each in wanted:
            while self.heard.find(each, at) < 0:
                more = self._line.recv(4096)
                assert more, self.heard
                self.heard += more
            at = self.heard.find(each, at) + len(each)


@pytest.mark.vm
def test_noise_does_not_stop_a_thermometer_and_a_person_does_for_an_hour(tmp_path):
    files = agent.deployed_files(agent.source_files())
    config = b'{"report_interval_s": 1, "start_spread_s": 0}'
    files = {**files, **OWN, "/config.json": config, "/state.json": b"{}"}
    twin = make_board(tmp_path / "flash.bin", files, flash_bytes=SOURCE_FLASH_BYTES)
    with repl.running(twin) as board:
        console = Console(board)
        console.type(b"\x03")
        console.hear(b" C,", b" C,", b" C,")
        assert b"KeyboardInterrupt" not in console.heard
        console.type(b"x\x03\x03print(6 * 7)\r")
        console.hear(b"KeyboardInterrupt", b">>> ", b"42")
        for number in (48, 54):  # the board is served in turns, and hears of its watchdog at the end of one
            console.type(f"print({number // 6} * 6)\r".encode())
            console.hear(str(number).encode())
        assert 3500 < board._vm.watchdog - time.monotonic() < 3600


@pytest.mark.parametrize("runtime", [pytest.param("vm", marks=pytest.mark.vm), "cpython"])
def test_boot_py_that_raises_leaves_out_main_py_as_micropython_does(tmp_path, runtime):
    for boot, is_started in ((b"1 / 0\n", False), (b"print('booted')\n", True), (None, True)):
        files = {"/boot.py": boot, "/main.py": b"print('main is here')\n"}
        make_board(tmp_path / "flash.bin", {path: content for path, content in files.items() if content})
        console = Twin(tmp_path / "flash.bin", runtime).power_on(max_boots=1, timeout_s=30).console
        assert ("main is here" in console) == is_started, console
        assert ("ZeroDivisionError" in console) == (not is_started)
