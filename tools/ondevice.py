"""The device's own code on CPython, for verdicts that must be the device's."""

import contextlib
import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from tools.twin import paths

_SECTOR_BYTES = 4096
_HEAD_BYTES = 288
_FLASH_MAX_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_ANY_ESP32 = bytes(40)  # the head of an image of secure version 0, as far as a device's check looks at it
_SIGNATURE_MAGIC = b"\xe7\x02"
_SIGNATURE_KEY = slice(36, 812)  # modulus, exponent and the two numbers made of them


class Refused(Exception):
    """What the device would refuse; the text is the device's own."""


class File:
    """A slot that lies in a file, read sector by sector."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._info = (0, 0x10, 0x200000, size_bytes, "slot", False)

    def info(self) -> tuple:
        """As `esp32.Partition.info`."""
        return self._info

    def readblocks(self, block: int, buffer, offset: int = 0) -> None:
        """As `esp32.Partition.readblocks`."""
        self._file.seek(block * _SECTOR_BYTES + offset)
        buffer[:] = self._file.read(len(buffer)).ljust(len(buffer), b"\xff")


class Memory:
    """A slot that lies in memory, as far as the device's check reads it."""

    def __init__(self, data: bytes, size_bytes: int, address: int) -> None:
        self._data = data.ljust(size_bytes, b"\xff")
        self._info = (0, 0x10, address, size_bytes, "slot", False)

    def info(self) -> tuple:
        """As `esp32.Partition.info`."""
        return self._info

    def readblocks(self, block: int, buffer, offset: int = 0) -> None:
        """As `esp32.Partition.readblocks`."""
        at = block * _SECTOR_BYTES + offset
        buffer[:] = self._data[at : at + len(buffer)]


def is_serial(text: str) -> bool:
    """True for what a device takes for a serial number."""
    return module("store").is_id(text)


def check_config(config: bytes) -> None:
    """Read `config` as the device reads /config.json. Refused when it would not use it."""
    store = module("store")
    root = store.root
    with TemporaryDirectory() as folder, _verdict():
        Path(folder, "config.json").write_bytes(config)
        store.root = f"{folder}/"
        try:
            module("files").config({})
        finally:
            store.root = root


def settings() -> set[str]:
    """The names of the settings that a device knows."""
    return set(module("files").DEFAULTS)


def check_firmware(firmware: bytes, running: bytes, slot_bytes: int, trusted: list[str]) -> None:
    """Check a firmware as a device does before it starts it: one that runs `running`, of any chip revision, and
    trusts the keys with these digests. Refused when it would not."""
    with _verdict():
        slot = Memory(firmware, slot_bytes, 0x200000)
        module("gate").check_head(firmware, len(firmware), slot, Memory(running, slot_bytes, 0x10000), None)
        module("image").check_slot(slot, len(firmware), trusted, memoryview(bytearray(_SECTOR_BYTES)))


def check_file(path: Path) -> bool:
    """Check the firmware in a file as `check_firmware` does, without loading it, and its checksum as well; True when
    it carries a signature, which then fits. Refused when no device would take it."""
    size_bytes = path.stat().st_size
    with _verdict(), path.open("rb") as file:
        slot = File(file, _FLASH_MAX_BYTES)
        head = file.read(_HEAD_BYTES)
        module("gate").check_head(head, size_bytes, slot, Memory(_ANY_ESP32, _SECTOR_BYTES, 0x10000), None)
        file.seek(max(0, size_bytes - _SECTOR_BYTES))
        block = file.read(_SECTOR_BYTES)
        is_signed = block.startswith(_SIGNATURE_MAGIC)
        trusted = [hashlib.sha256(block[_SIGNATURE_KEY]).hexdigest()] if is_signed else []
        module("image").check_slot(slot, size_bytes, trusted, memoryview(bytearray(_SECTOR_BYTES)))
        _check_checksum(file)
    return is_signed


def module(name: str) -> Any:
    """A module of the device's package `gadgetkeeper`."""
    paths.make_importable()
    return importlib.import_module(f"gadgetkeeper.{name}")


def _check_checksum(file: BinaryIO) -> None:
    """Check the one byte over all segments that only the chip itself looks at, in `set_boot`."""
    file.seek(0)
    head = file.read(24)
    at, checksum = 24, 0xEF
    for _ in range(head[1]):
        file.seek(at)
        left = int.from_bytes(file.read(8)[4:], "little")
        at += 8 + left
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            left -= len(piece)
            # Folded in halves as one big number: byte by byte Python would take a second for a firmware.
            number, bits = int.from_bytes(piece.ljust(_PIECE_BYTES, b"\0"), "little"), 8 * _PIECE_BYTES
            while bits > 8:
                bits //= 2
                number = (number >> bits) ^ (number & ((1 << bits) - 1))
            checksum ^= number
    file.seek((at + 16) // 16 * 16 - 1)
    if file.read(1) != bytes([checksum]):
        raise Refused("the image does not fit its checksum")


@contextlib.contextmanager
def _verdict() -> Iterator[None]:
    """What the device raises, as Refused with the device's own sentence."""
    try:
        yield
    except module("errors").AgentError as error:
        raise Refused(module("sentences").sentence(error)) from error
