"""The device's own code on CPython, for verdicts that must be the device's."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

from tools.twin import paths

_SECTOR_BYTES = 4096


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
    settings = module("agent.device").Settings()
    with TemporaryDirectory() as folder, _verdict():
        Path(folder, "config.json").write_bytes(config)
        module("agent.settings").load_settings(settings, f"{folder}/")


def settings() -> set[str]:
    """Return the names of the settings that a device knows."""
    return {setting.name for setting in module("agent.settings").TABLE}


def check_firmware(firmware: bytes, running: bytes, slot_bytes: int, trusted: list[str]) -> None:
    """Check a firmware as a device does before it starts it: one that runs `running`, of any chip revision, and
    trusts the keys with these digests. Refused when it would not."""
    slot_class, header, image = module("ota.slot").Slot, module("ota.header"), module("ota.image")
    slot = slot_class(Memory(firmware, slot_bytes, 0x200000))
    update = SimpleNamespace(running=slot_class(Memory(running, slot_bytes, 0x10000)), slot=slot, chip_revision=None)
    with _verdict():
        header.check_header(update, firmware, len(firmware))
        image.check_image(slot, len(firmware), trusted)


def module(name: str) -> ModuleType:
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
