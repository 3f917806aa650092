"""An emulated ESP32: QEMU with the chip's radio, its flash in a file, its console on a TCP port.

To kill it is a power cut: the flash file holds what had been programmed, the RTC's memory is gone.
"""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HOST = "192.168.4.2"
"""Where the chip finds this machine: the gateway of the radio's network."""

SSID = "Espressif"
"""The radio's access point, which is open."""

NEEDED = (
    "EMULATOR=path/to/qemu-system-xtensa is needed: a QEMU with the ESP32's radio (machine esp32, network model "
    "esp32_wifi). Espressif's own QEMU has no radio; public forks of it on GitHub do, search for esp32_wifi. "
    "EMULATOR_ARGS=… are handed on to it"
)

_CONNECT_TIMEOUT_S = 60
_POLL_S = 0.05
_WATCH_S = 0.0005
_READ_BYTES = 4096
_KILL_TIMEOUT_S = 20


class EmulatorError(Exception):
    """An emulator that does not start or does not end; the text says why and what to do."""


@dataclass(frozen=True)
class Line:
    """A line of the console, and how many seconds after power-on it was complete."""

    at_s: float
    text: str


class Emulator:
    """The program that emulates a chip, and what to tell it."""

    def __init__(self, program: Path, arguments: str = "") -> None:
        self.program = program
        self._arguments = shlex.split(arguments)

    def check(self) -> None:
        """EmulatorError unless the program is a QEMU with the ESP32's radio."""
        if not self.program.is_file() or not os.access(self.program, os.X_OK):
            raise EmulatorError(f"there is no program {self.program}: {NEEDED}")
        if "esp32" not in self._ask("-machine", "help"):
            raise EmulatorError(f"{self.program} knows no machine esp32: {NEEDED}")

    def command(self, flash: Path, port: int) -> list[str]:
        """Return the command line that powers on the chip with this flash, and its console on this port."""
        return [
            str(self.program),
            *(() if "-L" in self._arguments else _rom_folder(self.program)),
            *("-nographic", "-monitor", "none", "-machine", "esp32"),
            *("-drive", f"file={flash},if=mtd,format=raw"),
            *("-nic", "user,model=esp32_wifi,net=192.168.4.0/24"),
            *("-serial", f"tcp:127.0.0.1:{port},server=on,wait=on"),
            *self._arguments,
        ]

    @contextlib.contextmanager
    def powered(self, flash: Path, log: Callable[[str], object] = lambda text: None) -> Iterator["Chip"]:
        """Power on the chip; at the end of the block its power is cut. `log` gets each line of the console."""
        port = _free_port()
        # A session of its own: the user's Ctrl-C is for the harness, which cuts the power itself.
        process = subprocess.Popen(
            self.command(flash, port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        chip = Chip(process, log)
        try:
            chip.connect(port)
            yield chip
        finally:
            chip.cut_power()

    def _ask(self, *question: str) -> str:
        command = [str(self.program), *_rom_folder(self.program), *self._arguments, *question]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmulatorError(f"{self.program} cannot be run: {error}") from error
        return done.stdout + done.stderr


class Chip:
    """A chip that has power. `lines` is what its console has shown since."""

    def __init__(self, process: subprocess.Popen, log: Callable[[str], object]) -> None:
        self.lines: list[Line] = []
        self._process = process
        self._log = log
        self._begun = time.monotonic()
        self._console: socket.socket | None = None
        self._partial = b""
        self._read = 0  # lines that `wait_for` has gone past

    def connect(self, port: int) -> None:
        """Listen to the console; the chip starts then. EmulatorError when the emulator has ended."""
        end = time.monotonic() + _CONNECT_TIMEOUT_S
        while self._console is None:
            try:
                self._console = socket.create_connection(("127.0.0.1", port), timeout=1)
            except OSError:
                if self._process.poll() is not None:
                    said = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr else ""
                    raise EmulatorError(f"the emulator has ended: {said or self._process.returncode}") from None
                if time.monotonic() > end:
                    raise EmulatorError(
                        f"the emulator does not open its console within {_CONNECT_TIMEOUT_S} s"
                    ) from None
                time.sleep(_POLL_S)
        self._console.settimeout(_POLL_S)
        self._begun = time.monotonic()

    def wait_for(self, text: str, timeout_s: float, whole: bool = True) -> Line | None:
        """Return the next line of the console with this text in it, after those found before; None when none came in
        time. With `whole` off, it may be a line that has not ended: a progress bar takes long for that."""
        return self._wait(lambda line: text in line, timeout_s, whole)

    def watch(self, happened: Callable[[], bool], timeout_s: float) -> bool:
        """Return True as soon as `happened()` does, asked far more often than the console; False when it did not."""
        end = time.monotonic() + timeout_s
        next_read = 0.0
        while time.monotonic() < end:
            if happened():
                return True
            if time.monotonic() > next_read:
                self._receive(wait_s=0)
                next_read = time.monotonic() + _POLL_S
            time.sleep(_WATCH_S)
        return False

    def listen(self, duration_s: float) -> None:
        """Listen to the console for so long."""
        self._wait(lambda line: False, duration_s, whole=True)

    @contextlib.contextmanager
    def lent(self) -> Iterator[str]:
        """Leave the console to another program, at the yielded port as pyserial names it, until the block ends."""
        assert self._console is not None
        host, port = self._console.getpeername()
        self._console.close()
        try:
            yield f"socket://{host}:{port}"
        finally:
            self._console = socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S)

    def seconds(self) -> float:
        """Return how long the chip has had power."""
        return time.monotonic() - self._begun

    def cut_power(self) -> None:
        """Cut the power. EmulatorError when the emulator does not die."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            try:
                self._process.wait(_KILL_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                raise EmulatorError(f"the emulator, process {self._process.pid}, does not end") from error
        if self._process.stderr:
            self._process.stderr.close()
        if self._console:
            self._console.close()
            self._console = None

    def _wait(self, wanted: Callable[[str], bool], timeout_s: float, whole: bool) -> Line | None:
        end = time.monotonic() + timeout_s
        while True:
            while self._read < len(self.lines):
                line = self.lines[self._read]
                self._read += 1
                if wanted(line.text):
                    return line
            partial = self._partial.decode(errors="replace")
            if not whole and wanted(partial):
                return Line(self.seconds(), partial)
            if time.monotonic() > end:
                return None
            self._receive(_POLL_S)

    def _receive(self, wait_s: float) -> None:
        if self._console is None:
            raise EmulatorError("the chip has no power")
        self._console.settimeout(wait_s)
        try:
            data = self._console.recv(_READ_BYTES)
        except (TimeoutError, BlockingIOError):
            return
        except OSError:
            data = b""
        if not data:
            raise EmulatorError(f"the emulator has ended by itself after {self.seconds():.0f} s")
        *whole, self._partial = (self._partial + data).split(b"\n")
        for text in whole:
            line = Line(self.seconds(), text.decode(errors="replace").rstrip("\r"))
            self.lines.append(line)
            self._log(f"{line.at_s:7.1f}  {line.text}")


def _rom_folder(program: Path) -> list[str]:
    """Return the option for the folder with the chip's ROM, if it lies where QEMU's build or installation puts it."""
    beside = program.resolve().parent
    for folder in (beside / "pc-bios", beside.parent / "pc-bios", beside.parent / "share" / "qemu"):
        if folder.is_dir():
            return ["-L", str(folder)]
    return []


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
