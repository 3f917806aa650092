"""The device's own code on CPython, for verdicts that must be the device's."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from tools.twin import paths

_SECTOR_BYTES = 4096
_HEADER_BYTES = 288


class Refused(Exception):
    """What the device would refuse; the text is the device's own."""


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
        module("agent.settings").load_settings(module("agent.device").Device(None, None, f"{folder}/", f"{folder}/"))


def settings() -> set[str]:
    """Return the names of the settings that a device knows."""
    return {setting.name for setting in module("agent.settings").TABLE}


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
        bundle.check_bundle(update, firmware[:_HEADER_BYTES])


def module(name: str) -> Any:
    """Return the device's module of this name."""
    paths.make_importable()
    return importlib.import_module(name)


@contextlib.contextmanager
def _verdict() -> Iterator[None]:
    """What the device raises, as Refused with the device's own sentence."""
    try:
        yield
    except module("agent.errors").AgentError as error:
        raise Refused(module("agent.sentences").sentence(error)) from error
