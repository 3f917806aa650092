"""An image onto a board, by esptool: connected, checked, written and verified."""

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from esp_pylib.logger import EspLog, EspLogBase
from serial import SerialException
from serial.tools import list_ports

from tools import espressif
from tools.factory.errors import FactoryError
from tools.factory.image import read_files
from tools.factory.layout import BOOTLOADER_ADDRESS, FLASH_SIZES, TABLE_ADDRESS
from tools.factory.personal import DEVICE_SECRET, secret_sha256

BAUD = 460_800
_CONNECT_ATTEMPTS = 7
_CHIP = "ESP32"
_BUSY = ("exclusively lock", "Errno 16", "Access is denied", "busy:")

_REASON = re.compile(r"doesn't exist\. \((.*)\)")  # in esptool's sentence


class Board:
    """A board in download mode: its `mac`, and its flash's size in bytes (None: esptool does not know it)."""

    def __init__(self, esp, port: str) -> None:
        from esptool.cmds import detect_flash_size
        from esptool.util import flash_size_bytes

        self._esp = esp
        self.port = port
        self.mac = ":".join(f"{byte:02x}" for byte in esp.read_mac())
        size = detect_flash_size(esp)
        self.flash_bytes = flash_size_bytes(size) if size else None

    def require_room(self, image: bytes) -> None:
        """FactoryError when the flash is smaller than the image."""
        if self.flash_bytes is not None and self.flash_bytes < len(image):
            have, need = self.flash_bytes / (1 << 20), len(image) >> 20
            raise FactoryError(f"the board's flash has {have:g} MiB, the image is for {need}")

    def write(self, image: bytes, erase: bool, progress: Callable[[int, int], None]) -> None:
        """Write a whole flash image, everything else erased before if so wished, compare what lies on flash with it,
        and restart the board. `progress` is told bytes done and in all. FactoryError when it fails."""
        from esptool.cmds import reset_chip, write_flash

        with _errors(self.port), _ears(progress):
            # Compares the MD5 of what lies on flash with the image's, and raises when they differ.
            write_flash(self._esp, [(0, image)], erase_all=erase)
            reset_chip(self._esp, "hard-reset")


@contextlib.contextmanager
def connected(port: str, baud: int = BAUD, attempts: int = _CONNECT_ATTEMPTS) -> Iterator[Board]:
    """The board at this port (whatever esptool takes: a device, socket://host:port, rfc2217://host:port). FactoryError
    when there is none, it does not answer, or it is another chip."""
    from esptool.cmds import attach_flash, connect_esp, run_stub

    _check_port(port)
    with _errors(port), _ears(lambda done, total: None), contextlib.ExitStack() as stack:
        esp = stack.enter_context(connect_esp(port, connect_attempts=attempts))
        if esp.CHIP_NAME != _CHIP:
            raise FactoryError(f"the board at {port} has the chip {esp.CHIP_NAME}, the image is for the {_CHIP}")
        esp = run_stub(esp)
        if baud > esp.ESP_ROM_BAUD:
            esp.change_baud(baud)
        attach_flash(esp)
        yield Board(esp, port)


def read_image(path: Path) -> tuple[bytes, str]:
    """A flash image made by the factory, and its serial number. FactoryError when it is none."""
    try:
        image = path.read_bytes()
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(image) not in FLASH_SIZES.values():
        raise FactoryError(f"{path} is no flash image of {', '.join(FLASH_SIZES)}: make factory makes one")
    try:
        espressif.read_image(image[BOOTLOADER_ADDRESS:TABLE_ADDRESS], "its boot loader")
        serial = read_files(image)["/serial.txt"].decode().strip()
    except (FactoryError, espressif.ImageError, KeyError) as error:
        raise FactoryError(f"{path} is no flash image of a thermometer ({error})") from error
    return image, serial


def device_secret_sha256(image: bytes) -> str | None:
    """The hash of the device secret in a flash image; None when it has none."""
    try:
        secret = json.loads(read_files(image)["/config.json"]).get(DEVICE_SECRET)
    except (KeyError, ValueError, AttributeError):
        return None
    return secret_sha256(secret) if secret else None


def _check_port(port: str) -> None:
    """What is wrong with the port is better said before esptool opens it: of all that, it says "busy or missing"."""
    if "://" in port or os.name == "nt":
        return
    if port == "auto":
        raise FactoryError("the port has to be named, like PORT=/dev/ttyUSB0: what is on it is replaced")
    if not os.path.exists(port):
        there = ", ".join(sorted(found.device for found in list_ports.comports())) or "none is attached"
        raise FactoryError(f"there is no port {port} (ports: {there})")
    if not stat.S_ISCHR(os.stat(port).st_mode):
        raise FactoryError(f"{port} is no serial port")
    if not os.access(port, os.R_OK | os.W_OK):
        raise FactoryError(f"no permission for {port}: join the group it belongs to (dialout or uucp) and log in anew")


@contextlib.contextmanager
def _errors(port: str) -> Iterator[None]:
    """esptool's errors as sentences that say what to do."""
    from esptool.util import FatalError

    try:
        yield
    except FatalError as error:
        text = " ".join(str(error).split())
        if any(word in text for word in _BUSY):
            raise FactoryError(f"{port} is in use by another program: close its console or monitor") from error
        if "Inappropriate ioctl" in text:
            raise FactoryError(f"{port} is no serial port") from error
        if "Could not open" in text:
            reason = _REASON.search(text)
            raise FactoryError(f"{port} cannot be opened: {reason[1] if reason else text}") from error
        if "Failed to connect" in text or "No serial data" in text:
            raise FactoryError(
                f"no chip answers at {port}: check the cable, or hold BOOT while pressing EN, and try again"
            ) from error
        raise FactoryError(f"{port}: {text}") from error
    except (SerialException, OSError) as error:
        if any(word in str(error) for word in _BUSY):
            raise FactoryError(f"{port} is in use by another program: close its console or monitor") from error
        raise FactoryError(f"the connection to {port} broke ({error}): nothing is lost, try again") from error
    except ValueError as error:  # pyserial, of an address it does not know
        raise FactoryError(f"{port} is no port: {error}") from error


@contextlib.contextmanager
def _ears(progress: Callable[[int, int], None]) -> Iterator[None]:
    """Hear esptool's progress, and nothing else of what it says."""
    espressif.silence()  # some of esptool holds on to the logger that it found when it was imported
    before = EspLog.instance
    EspLog.instance = _Ears(progress)
    try:
        yield
    finally:
        EspLog.instance = before


class _Ears(EspLogBase):
    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress

    def print(self, *args, **kwargs) -> None:
        pass

    err = warn = note = hint = debug = set_verbosity = print

    def progress_bar(self, cur_iter: int, total_iters: int, *args, **kwargs) -> None:
        self._progress(cur_iter, total_iters)
