"""The owner in a story: a phone that has joined the board's network, and a finger for its button."""

import contextlib
import json
import socket
import sys
from urllib.parse import urlencode

from tools.proof.powercut.world import Violation
from tools.twin import hardware, ports

LABEL_PASSWORD = "password-on-the-label"
_VISIT_MS = 2000
_BUTTON = "0"
_HELD_LOOKS = 105  # of 100 ms


class Owner:
    """Gives the board this network when it asks for one, and no other; has the board forget who owned it before."""

    def __init__(self, network: str, password: str, name: str = "") -> None:
        self.network = network
        self.password = password
        self._name = name
        self._visit_ms = 0
        self._phone: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as found:
            self._port = found.getsockname()[1]

    def world(self) -> dict:
        """What is around the board besides what every board has."""
        return {"wifi": {self.network: self.password, "theirs": "their-password"}, "ports": {"80": self._port}}

    @contextlib.contextmanager
    def around(self, files: dict[str, bytes]):
        """For one boot of the board: it finds the desk's ports, an empty console, and a button that is held while the
        owner before is in these files of it."""
        import machine
        import network

        network.power_on()
        machine.Pin.looks = 0
        is_held = b"" != self._kept(files) != self.expected() and "/setup.txt" not in files
        hardware.world["button"] = {_BUTTON: [[1, _HELD_LOOKS]]} if is_held else {}
        self._visit_ms = 0
        kept = sys.modules["socket"], sys.stdin
        with open("/dev/null") as nobody:
            sys.modules["socket"], sys.stdin = ports.on_desk(), nobody
            try:
                yield
            finally:
                sys.modules["socket"], sys.stdin = kept
                self._hang_up()

    def look(self, now_ms: int) -> None:
        """Send the form to a board that has its network open."""
        import network

        if network._point.name() is None or now_ms < self._visit_ms:
            return
        self._visit_ms = now_ms + _VISIT_MS
        self._hang_up()
        body = urlencode({"do": "join", "network": self.network.encode().hex(), "password": self.password})
        body += f"&name={self._name}"
        with contextlib.suppress(OSError):  # not listening yet
            self._phone = socket.create_connection(("127.0.0.1", self._port), timeout=1)
            head = f"POST / HTTP/1.1\r\nHost: 192.168.4.1\r\nContent-Length: {len(body)}\r\n\r\n"
            self._phone.sendall((head + body).encode())

    def expected(self) -> bytes:
        """What the board keeps of this owner."""
        return self.network.encode().hex().encode()

    def check(self, files: dict[str, bytes], config: bytes) -> None:
        """Violation when the board keeps anything but what this owner has told it."""
        if self._kept(files) != self.expected():
            raise Violation(f"the board knows {files.get('/owner.json')!r}, its owner's network is {self.network}")
        if files["/config.json"] != config:
            raise Violation("I5: the factory's settings have been changed")
        if any(b"password-of-the-first" in content for content in files.values()):
            raise Violation("what the first owner has told the board is still there")
        if "/setup.txt" in files:
            raise Violation("the button's wish would be fulfilled again")

    def _kept(self, files: dict[str, bytes]) -> bytes:
        return json.loads(files.get("/owner.json", b'{"network": ""}'))["network"].encode()

    def _hang_up(self) -> None:
        if self._phone:
            self._phone.close()
            self._phone = None
