"""Virtual boards for the tests of tools/deploy: what lies on them, and a line to them that can break."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import serial
import serial.rfc2217

from tools import factory, firmware
from tools.twin.device import Twin

SERIAL = "THERM00000000000001"
API_KEY = "5ecae70000000000000000000000beef"
PASSWORD = "the-wifi-password"
OWN = {
    **factory.own_files(SERIAL, "http://127.0.0.1:1", wifi=[["home", PASSWORD]]),
    "/state.json": b'{"thingId": "ccee2e961501a77d59d3fe30a90a1347", "apiKey": "%s", "renamed": true}'
    % API_KEY.encode(),
    "/ca.pem": b"-----BEGIN CERTIFICATE-----\n",
    "/notes.txt": b"not the agent's",
    "/lib/mine.py": b"x = 1\n",
}
"""What a board keeps, whatever is deployed."""

ONE_SLOT = [partition for partition in factory.FORMER_LAYOUT if partition.label != "ota_1"]


SOURCE_FLASH_BYTES = 8 << 20  # of flash: the agent as source does not fit beside two slots in 4 MiB


def make_board(
    path: Path, files: dict[str, bytes], layout: list | None = None, flash_bytes: int = factory.FLASH_BYTES
) -> Twin:
    """A board that runs a plain MicroPython, with these files on it; with another partition table if one is given."""
    if layout is None and flash_bytes == factory.FLASH_BYTES:
        layout = factory.FORMER_LAYOUT  # the agent as files needs its room
    combined = firmware.combined_image("1.27.0")
    path.write_bytes(factory.flash_image(combined, files, flash_bytes=flash_bytes, partitions=layout))
    return Twin(path)


def listen(url: str, until: bytes, keys: bytes = b"") -> None:
    """Type `keys` at a board's console, and hear it until it says `until`; TimeoutError when it does not."""
    host, port = url.removeprefix("socket://").split(":")
    deadline = time.monotonic() + 15
    with socket.create_connection((host, int(port)), timeout=15) as console:
        console.sendall(keys)
        heard = b""
        while until not in heard:
            heard += console.recv(4096)
            if time.monotonic() > deadline:
                raise TimeoutError(heard)


class Line:
    """A TCP line to a board's console that remembers what comes from the board; it may break after some bytes to the
    board, or turn some bytes into others on their way there."""

    def __init__(self, url: str, breaks_after: int | None = None, turns: tuple[bytes, bytes] = (b"", b"")) -> None:
        self._board = url.removeprefix("socket://").split(":")
        self._left = breaks_after
        self._turns = turns
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "socket://{}:{}".format(*self._listener.getsockname())
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        for end in [self._listener, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            desk = self._listener.accept()[0]
            board = socket.create_connection((self._board[0], int(self._board[1])))
            self._ends += [desk, board]
            threading.Thread(target=self._from_board, args=(board, desk), daemon=True).start()
            while data := desk.recv(4096):
                if self._turns[0]:
                    data = data.replace(*self._turns)
                if self._left is not None:
                    data = data[: self._left]
                    self._left -= len(data)
                board.sendall(data)
                if self._left == 0:
                    break
        self.close()

    def _from_board(self, board: socket.socket, desk: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := board.recv(4096):
                self.heard += data
                desk.sendall(data)


class Rfc2217:
    """A board's console behind RFC 2217, as esp_rfc2217_server and ser2net offer it."""

    def __init__(self, url: str) -> None:
        self._board = serial.serial_for_url(url, timeout=0.01)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "rfc2217://{}:{}".format(*self._listener.getsockname())
        self._stopped = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._stopped.set()
        self._listener.close()

    def _serve(self) -> None:
        desk = self._listener.accept()[0]
        manager = serial.rfc2217.PortManager(self._board, _Desk(desk))
        threading.Thread(target=self._from_board, args=(desk, manager), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := desk.recv(4096):
                self._board.write(b"".join(manager.filter(data)))
        self._stopped.set()

    def _from_board(self, desk: socket.socket, manager) -> None:
        with contextlib.suppress(OSError):
            while not self._stopped.is_set():
                desk.sendall(b"".join(manager.escape(self._board.read(4096))))
        self._board.close()


class _Desk:
    """What pyserial's PortManager writes to."""

    def __init__(self, desk: socket.socket) -> None:
        self.write = desk.sendall


class Stranger:
    """Something at the other end of a port that is no MicroPython: it answers everything with the same bytes."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "socket://{}:{}".format(*self._listener.getsockname())
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            desk = self._listener.accept()[0]
            while desk.recv(4096):
                desk.sendall(self._says)
