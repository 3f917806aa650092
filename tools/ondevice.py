"""The device's own code on CPython, for verdicts that must be the device's."""

import contextlib
import hashlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
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
    """Return True for what a device takes for a serial number."""
    return module("agent.identifiers").is_id(text)


def check_config(config: bytes) -> None:
    """Read `config` as the device reads /config.json. Refused when it would not use it."""
    with TemporaryDirectory() as folder, _verdict():
        Path(folder, "config.json").write_bytes(config)
        module("agent.settings_reader").load_settings(
            module("agent.device").Device(None, None, f"{folder}/", f"{folder}/")
        )


def settings() -> set[str]:
    """Return the names of the settings that a device knows."""
    return {setting.name for setting in module("agent.settings").table()}


def check_firmware(firmware: bytes, running: bytes, slot_bytes: int, trusted: list[str], product: str) -> None:
    """Check a release as a device does before it starts it: one of this product that runs `running`, of any chip
    revision, and trusts the keys with these digests. Refused when it would not."""
    slot_class, header = module("ota.slot").Slot, module("ota.header")
    image, bundle = module("ota.image"), module("ota.bundle")
    slot = slot_class(Memory(firmware, slot_bytes, 0x200000))
    device = module("agent.device").Device(None, None)
    device.settings.product, device.settings.floor = product, 0
    running_slot = slot_class(Memory(running, slot_bytes, 0x10000))
    update = SimpleNamespace(device=device, running=running_slot, slot=slot, chip_revision=None)
    with _verdict():
        header.check_header(update, firmware, len(firmware))
        image.check_image(slot, len(firmware), trusted)
        bundle.check_bundle(slot, update.release, product)


def check_file(path: Path) -> bool:
    """Check the release in a file as a device of its own product does, without loading it, and its checksum as well;
    True when it carries a signature, which then fits. Refused when no device would take it."""
    size_bytes = path.stat().st_size
    with _verdict(), path.open("rb") as file:
        slot_class, header = module("ota.slot").Slot, module("ota.header")
        slot = slot_class(File(file, _FLASH_MAX_BYTES))
        head = file.read(_HEAD_BYTES)
        device = module("agent.device").Device(None, None)
        device.settings.product, device.settings.floor = "", 0
        if len(head) == _HEAD_BYTES:
            device.settings.product = header.Header(head).product
        running = slot_class(Memory(_ANY_ESP32, _SECTOR_BYTES, 0x10000))
        update = SimpleNamespace(device=device, running=running, slot=slot, chip_revision=None)
        header.check_header(update, head, size_bytes)
        file.seek(max(0, size_bytes - _SECTOR_BYTES))
        block = file.read(_SECTOR_BYTES)
        is_signed = block.startswith(_SIGNATURE_MAGIC)
        trusted = [hashlib.sha256(block[_SIGNATURE_KEY]).hexdigest()] if is_signed else []
        module("ota.image").check_image(slot, size_bytes, trusted)
        module("ota.bundle").check_bundle(slot, update.release, device.settings.product)
        _check_checksum(file)
    return is_signed


@dataclass(frozen=True)
class Identity:
    """What a release says it is; no release below `floor` is installed any more where it has proven itself."""

    product: str
    number: int
    floor: int


def identity(path: Path) -> Identity | None:
    """Return what the release in a file says it is; None for a file that is no release."""
    with path.open("rb") as file, contextlib.suppress(Refused, ValueError), _verdict():
        head = module("ota.header").Header(file.read(_HEAD_BYTES).ljust(_HEAD_BYTES, b"\0"))
        bundle = module("ota.bundle_files").Bundle(module("ota.slot").Slot(File(file, _FLASH_MAX_BYTES)))
        manifest = module("agent.manifest_reader").parse_manifest(bundle.text("/manifest.json"))
        return Identity(head.product, manifest.release, manifest.floor)
    return None


def fingerprint(path: Path) -> str | None:
    """Return what a device calls the release in a file when it runs it; None for a file that is no image."""
    with path.open("rb") as file:
        return module("ota.layout").fingerprint(module("ota.slot").Slot(File(file, _FLASH_MAX_BYTES)))


def module(name: str) -> Any:
    """Return the device's module of this name."""
    paths.make_importable()
    return importlib.import_module(name)


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
    except module("agent.errors").AgentError as error:
        raise Refused(module("agent.sentences").sentence(error)) from error
