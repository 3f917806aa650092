"""An owner with a phone: a home whose thermometer knows no network yet, and what a phone asks in the board's own."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

from host_tests.fakes.home import SERIAL, Home
from tools import agent, factory, firmware, release
from tools.twin.__main__ import is_done
from tools.twin.device import Result
from tools.twin.image import make_image

LABEL_PASSWORD = "password-on-the-label"
PASSWORD = "s3cret-of-the-house"
NETWORK = "home <b>&'\"$thing 🏠"
NO_TEXT = b"\xff\xfe" * 16
PLACES = {
    "neighbour": {"password": "another-one", "signal": -80},
    NETWORK: {"password": PASSWORD, "signal": -50},
    "cafe": {"password": "", "signal": -70},
    "no text": {"password": PASSWORD, "signal": -85, "bytes": NO_TEXT.hex()},
    "no address": {"password": PASSWORD, "address": False, "signal": -65},
}
_SHORTER = {
    "/board/wifi.py": ((b"_REASON_AFTER_MS = const(10000)", b"300"), (b"_JOIN_TIMEOUT_MS = const(20000)", b"900")),
    "/setup/portal.py": ((b"_LINGER_MS = const(30_000)", b"9000"),),
}


class NewHome(Home):
    """A thermometer as it leaves the factory without a network, in the middle of some: `owner` has its ports. All
    that it waits for is shorter than in the field, unless another `image` is in its slot."""

    def __init__(self, folder: Path, runtime: str, image: bytes | None = None, **config: object) -> None:
        super().__init__(folder, runtime)
        own = factory.own_files(SERIAL, self.url, setup_password=LABEL_PASSWORD, start_spread_s=0, **config)
        files = {**agent.board_files(), **own}
        self.flash.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files, image or quick_release()))
        self.owner = Owner()
        self.world = {"wifi": PLACES, "ports": self.owner.ports}

    @contextlib.contextmanager
    def powered(self, until: Callable[[str], bool] = is_done, timeout_s: int = 60) -> Iterator["Powered"]:
        """The thermometer with power, until this is on its console; it must come to that."""
        powered = Powered(self, until, timeout_s)
        powered.thread.start()
        try:
            yield powered
        finally:
            powered.ends = True
            powered.thread.join()
        assert powered.result and powered.result.reason == "until", powered.console


class Powered:
    """`console` is what has been printed so far."""

    def __init__(self, home: NewHome, until: Callable[[str], bool], timeout_s: int) -> None:
        self.console = ""
        self.ends = False
        self.result: Result | None = None
        twin = home.twin(console=self._hear)

        def power_on() -> None:
            self.result = twin.power_on(until=until, timeout_s=timeout_s)

        self.thread = threading.Thread(target=power_on)

    def _hear(self, text: str) -> None:
        self.console += text

    def wait_for(self, text: str, timeout_s: float = 30) -> None:
        """Wait until this is on the console."""
        until_s = time.monotonic() + timeout_s
        while text not in self.console:
            assert self.thread.is_alive() and time.monotonic() < until_s, f"no {text!r} in:\n{self.console}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait for the end that `powered` was told."""
        self.thread.join()


class Owner:
    """Has joined the board's network: `ports` are the desk's in place of the board's."""

    def __init__(self) -> None:
        self.ports = {"80": _free_port(socket.SOCK_STREAM), "53": _free_port(socket.SOCK_DGRAM)}
        self.url = f"http://127.0.0.1:{self.ports['80']}/"
        self.heard = ""  # all that the board has answered

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> http.client.HTTPResponse:
        """The board's answer; `.text` is its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["80"], timeout=10)
        try:
            if body is not None:
                headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            response.text = response.read().decode()  # type: ignore[attr-defined]
            self.heard += f"{response.msg}\n{response.text}"  # type: ignore[attr-defined]
            return response
        finally:
            connection.close()

    def page(self) -> str:
        """The page; the board may still be starting."""
        for _ in range(100):
            with contextlib.suppress(ConnectionRefusedError):
                return self.ask("GET", "/").text  # type: ignore[attr-defined]
            time.sleep(0.1)
        raise AssertionError("no page")

    def send(self, **fields: str) -> str:
        """Send the form, and give the page that says what came of it."""
        response = self.ask("POST", "/", urlencode(fields))
        assert (response.status, response.getheader("Location")) == (303, "/")
        return self.outcome()

    def outcome(self) -> str:
        """The page as soon as it no longer says that the board is joining."""
        for _ in range(100):
            page = self.page()
            if "http-equiv=refresh" not in page:
                return page
            time.sleep(0.1)
        raise AssertionError("it is still joining")

    def look_up(self, query: bytes) -> bytes:
        """What the board's name server answers."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.sendto(query, ("127.0.0.1", self.ports["53"]))
            return asking.recv(512)


def quick_release() -> bytes:
    """Release 1 as source, around noise, whose waits are short."""
    changes = {}
    for path, constants in _SHORTER.items():
        changes[path] = {line: line.partition(b"=")[0] + b"= const(" + value + b")" for line, value in constants}
    return changed_release(changes)


def changed_release(changes: dict[str, dict[bytes, bytes]], compiled: bool = False) -> bytes:
    """Release 1 around noise, with these lines of its files replaced."""
    files = release.release_files(release.Contents(1), "1.27.0", source=True)
    for path, lines in changes.items():
        for old, new in lines.items():
            assert old in files[path], old
            files[path] = files[path].replace(old, new)
    for path in [path for path in files if compiled and path.endswith(".py")]:
        files[path.removesuffix(".py") + ".mpy"] = agent.compile_module(files.pop(path), path[1:], "1.27.0")
    return make_image(1, 20000, files=files)


def _free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
